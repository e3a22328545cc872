"""The base model of a published adapter: its files name it as other machines know it, a note beside them says where
it lies on this one.

A hub model is named by its id and commit, the starters by their own names, and a folder by its last name; what it is
then says the sha256 of its weights in labels.json. The note is no part of what leaves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from finetune30.config import STARTER, STARTER_CHAT
from finetune30.errors import ModelError
from finetune30.files import load_json
from finetune30.modeling.names import starter_folder

#: Beside the folder of the adapter: {"folder": where its base model lies on this machine}.
NOTE = "base_model.json"
ADAPTER_CONFIG = "adapter_config.json"
REFERENCE = "base_model_name_or_path"


def find_local_base(adapter: Path) -> Path | None:
    """Return where the base model of a saved adapter lies; None for one of the hub, which its cache knows.

    Raises ModelError where it is not on this machine any more.
    """
    described = load_described(adapter)
    name, revision = described[REFERENCE], described.get("revision")
    if revision is not None:
        return None
    if name == STARTER:
        return starter_folder()
    if (note := load_json(adapter.parent / NOTE)) is not None:
        return _require_folder(Path(note["folder"]), name)
    if Path(name).is_absolute():  # adapters of earlier versions name the place itself
        return _require_folder(Path(name), Path(name).name)
    if name == STARTER_CHAT:
        raise ModelError(
            f"the note {NOTE} beside this adapter, which says where its base model '{name}' lies, is missing",
            "take the files from a backup, or train again with the run's config.yaml",
        )
    return None


def load_described(adapter: Path) -> dict[str, Any]:
    """Return the configuration of a saved adapter."""
    loaded: dict[str, Any] = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    return loaded


def _require_folder(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise ModelError(
            f"the base model '{name}' of this adapter is no longer in {folder}",
            "put it back there, or train again on one that is",
        )
    return folder
