"""What stands beside a saved adapter: what it learnt, and how a text is treated before it is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetune30.data.problem import Targets, label_names

LABELS_FILE = "labels.json"
_REMOVE_HTML = "remove_html"


@dataclass(frozen=True)
class Reading:
    """How the texts of a training were read, so that questions are read alike.

    `columns`: text of the problem -> column of the training's file, of every text that the rows had (None: earlier
    versions did not say). `marks_are_text`: whether special tokens in texts were text. `allow_empty`: whether texts
    without any token were among those that were learnt.
    """

    columns: Mapping[str, str] | None = None
    marks_are_text: bool = False
    allow_empty: bool = False


def save_targets(
    folder: Path,
    problem_type: str,
    targets: Targets,
    max_length: int,
    recipe: Sequence[Mapping[str, Any]],
    reading: Reading,
    quantization: Mapping[str, Any] | None = None,
    answering: Mapping[str, Any] | None = None,
    *,
    base: Mapping[str, Any] | None = None,
    threshold: float | None = None,
) -> None:
    """Write what an answer needs beside the adapter: what was learnt, and how a text is treated first.

    `quantization` is how the base model was quantised (`Quantization.describe`), None where it was whole. `recipe` are
    the steps that cleaned the texts of the training: a text to be answered is cleaned alike. `base` is the base model
    as other machines know it: name, revision, sha256 of its weights. `threshold` is the probability from which a label
    counts, None where labels are not decided each alone. `answering` is what the problem answers with besides (see
    `Conclusion`). `label_names` and `remove_html` stand there for other readers of the file.
    """
    described = {
        "problem_type": problem_type,
        "label_names": list(label_names(targets)),
        "targets": dict(targets),
        "max_length": max_length,
        "recipe": [dict(step) for step in recipe],
        "reading": asdict(reading),
        "remove_html": any(step["step"] == _REMOVE_HTML for step in recipe),
        "threshold": threshold,
        **({} if base is None else {"base": dict(base)}),
        **({"quantization": dict(quantization)} if quantization else {}),
        **(answering or {}),
    }
    (folder / LABELS_FILE).write_text(json.dumps(described, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def load_targets(folder: Path) -> dict[str, Any]:
    """Return what `save_targets` wrote, `reading` as a Reading.

    `quantization` is there only where the base was quantised. Earlier versions wrote no `targets` but their names, no
    `recipe` and no `reading`.
    """
    loaded: dict[str, Any] = json.loads((folder / LABELS_FILE).read_text(encoding="utf-8"))
    named = {"label_names": loaded["label_names"]} if loaded["label_names"] else {}
    steps = [{"step": _REMOVE_HTML}] if loaded.get("remove_html") else []
    return {"targets": named, "recipe": steps, **loaded, "reading": Reading(**loaded.get("reading", {}))}
