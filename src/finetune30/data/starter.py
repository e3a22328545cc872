"""The data that the package carries: hand-written reviews and conversations (see starter/README.md)."""

from __future__ import annotations

from pathlib import Path

from finetune30.config.schema import STARTER, STARTER_CHAT, STARTER_ZH
from finetune30.data.sources.folders import load_folder
from finetune30.data.sources.table import SourceTable

_FOLDERS = {STARTER: "en", STARTER_ZH: "zh", STARTER_CHAT: "conversations"}


def is_starter(name: str) -> bool:
    """Say whether a data set name means data that the package carries."""
    return name in _FOLDERS


def starter_folder(name: str) -> Path:
    """Return the folder of a starter set, with its files of training and evaluation rows."""
    return Path(__file__).parent / "starter" / _FOLDERS[name]


def load_starter(name: str) -> dict[str, list[SourceTable]]:
    """Return the splits of a starter set: reviews (text, label, domain, trait), or conversations (messages …)."""
    return load_folder(starter_folder(name))
