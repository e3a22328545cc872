"""What a saved model needs to be used on another machine, looked for in its published files themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from finetune30.modeling.saved_targets import LABELS_FILE, Reading

#: What begins like a place on some machine: the root or home folder, a folder beside, a drive.
_PLACE = re.compile(r"[/~\\]|\.\.?[/\\]|[A-Za-z]:[\\/]")
#: The cells of the card that name where things came from.
_NAMED_IN_CARD = re.compile(r"^(?:base_model: |\| base model \| `|\| data \| `)(.+?)(?:`.*)?$", re.MULTILINE)
_NAMES_IN_JSON = ("base_model_name_or_path", "name_or_path", "_name_or_path")
_CARD = "README.md"
_SETTLED = ("problem_type", "label_names", "targets", "max_length", "recipe", "reading", "threshold", "base")
_SAVED_STATE = ("truncation", "padding")


def find_travel_faults(model: Path) -> list[str]:
    """Return what keeps a published model from being used elsewhere as it was trained; nothing is the empty list.

    The recipe of reading, max_length, thresholds and base in labels.json; the chat template of a model of
    conversations; a tokenizer that keeps no truncation or padding of a training; names of labels in every
    config.json; no place on a machine in any of them. Raises OSError and ValueError for files that cannot be read.
    """
    return [
        *_labels_faults(model),
        *_tokenizer_faults(model),
        *_config_faults(model),
        *_places(model),
    ]


def _labels_faults(model: Path) -> Iterator[str]:
    if not (model / LABELS_FILE).is_file():
        yield f"{LABELS_FILE} is missing"
        return
    labels = _load(model / LABELS_FILE)
    yield from (f"{LABELS_FILE} tells no {key}" for key in _SETTLED if key not in labels)
    reading = labels.get("reading") or {}
    yield from (
        f"{LABELS_FILE} tells no reading.{field.name}" for field in fields(Reading) if field.name not in reading
    )
    base = labels.get("base") or {}
    if not base.get("revision") and not base.get("sha256"):
        yield f"{LABELS_FILE} tells neither commit nor sha256 of the base model"
    chat = (labels.get("targets") or {}).get("chat")
    if chat is not None and chat.get("template") is not None and not chat["template"].get("text"):
        yield f"{LABELS_FILE} tells no text of the chat template"


def _tokenizer_faults(model: Path) -> Iterator[str]:
    path = model / "tokenizer.json"
    if not path.is_file():
        if not (model / "tokenizer_config.json").is_file():
            yield "there is no tokenizer"
        return
    tokenizer = _load(path)
    yield from (
        f"tokenizer.json keeps the {key} of a training" for key in _SAVED_STATE if tokenizer.get(key) is not None
    )


def _config_faults(model: Path) -> Iterator[str]:
    names = _load(model / LABELS_FILE).get("label_names") if (model / LABELS_FILE).is_file() else []
    for path in sorted(model.rglob("config.json")):
        named = _load(path).get("id2label") or {}
        if names and [named.get(str(number)) for number in range(len(names))] != names:
            yield f"{path.relative_to(model).as_posix()} does not name the labels"


def _places(model: Path) -> Iterator[str]:
    for path in sorted(model.rglob("*.json")):
        loaded = json.loads(path.read_text(encoding="utf-8"))
        told = loaded if isinstance(loaded, dict) else {}  # a vocabulary may be a list
        yield from _tell_places(model, path, (str(told[key]) for key in _NAMES_IN_JSON if told.get(key)))
    if (model / _CARD).is_file():
        yield from _tell_places(model, model / _CARD, _NAMED_IN_CARD.findall((model / _CARD).read_text("utf-8")))


def _tell_places(model: Path, path: Path, names: Iterable[str]) -> Iterator[str]:
    file = path.relative_to(model).as_posix()
    yield from (f"{file} names a place on a machine: {name}" for name in names if _PLACE.match(name))


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded
