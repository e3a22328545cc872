"""The base model of a published adapter: its files name it as other machines know it, a note beside them says where
it lies on this one.

A hub model is named by its id and commit, the starters by their own names, and a folder by its last name; what it is
then says the sha256 of its weights in labels.json. The note is no part of what leaves.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetune30.config import STARTER, STARTER_CHAT, ModelConfig
from finetune30.errors import ModelError
from finetune30.files import load_json, save_json_atomic
from finetune30.modeling.base import ADAPTER_CONFIG, BaseSource, find_base
from finetune30.modeling.names import starter_folder

#: Beside the folder of the adapter: {"folder": where its base model lies on this machine}.
NOTE = "base_model.json"
_REFERENCE = "base_model_name_or_path"


def public_name(source: BaseSource) -> str:
    """Return the name by which other machines know a base model: of a folder the last part of its path."""
    if source.revision is not None or source.name in (STARTER, STARTER_CHAT):
        return source.reference if source.revision is not None else source.name
    return source.folder.name


def name_base(adapter: Path, source: BaseSource) -> None:
    """Let a saved adapter name its base model by `public_name`, and note beside it where that lies here."""
    described = _load_described(adapter)
    described[_REFERENCE] = public_name(source)
    save_json_atomic(adapter / ADAPTER_CONFIG, described)
    if source.revision is None and source.name != STARTER:
        save_json_atomic(adapter.parent / NOTE, {"folder": str(source.folder)})


def find_base_folder(adapter: Path) -> Path:
    """Return where the base model of a saved adapter lies; one of the hub is fetched where it is not cached.

    Raises ModelError where it is not on this machine, and HubError.
    """
    described = _load_described(adapter)
    name, revision = described[_REFERENCE], described.get("revision")
    if revision is None and name == STARTER:
        return starter_folder()
    if revision is None and (note := load_json(adapter.parent / NOTE)) is not None:
        return _require_folder(Path(note["folder"]), name)
    if revision is None and Path(name).is_absolute():  # adapters of earlier versions name the place itself
        return _require_folder(Path(name), Path(name).name)
    if name == STARTER_CHAT:
        raise ModelError(
            f"the note {NOTE} beside this adapter, which says where its base model '{name}' lies, is missing",
            "take the files from a backup, or train again with the run's config.yaml",
        )
    return find_base(ModelConfig(name=name, revision=revision)).folder


@contextmanager
def loadable(adapter: Path) -> Iterator[Path]:
    """Lend a folder that PEFT can load the adapter from: where its base has no name of the hub, links beside a
    configuration that names the base's place on this machine.
    """
    base = find_base_folder(adapter)
    described = _load_described(adapter)
    if described.get("revision") is not None:
        yield adapter
        return
    with tempfile.TemporaryDirectory(prefix="ft30-adapter-") as passing:
        folder = Path(passing)
        for path in adapter.iterdir():
            if path.name != ADAPTER_CONFIG:
                (folder / path.name).symlink_to(path.resolve())
        (folder / ADAPTER_CONFIG).write_text(json.dumps({**described, _REFERENCE: str(base)}), encoding="utf-8")
        yield folder


def _load_described(adapter: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    return loaded


def _require_folder(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise ModelError(
            f"the base model '{name}' of this adapter is no longer in {folder}",
            "put it back there, or train again on one that is",
        )
    return folder
