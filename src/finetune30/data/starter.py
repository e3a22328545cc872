"""The data that the package carries: hand-written reviews (see starter/README.md)."""

from __future__ import annotations

from pathlib import Path

from finetune30.config.schema import STARTER, STARTER_ZH
from finetune30.data.sources.folders import load_folder
from finetune30.data.sources.table import SourceTable

_FOLDERS = {STARTER: "en", STARTER_ZH: "zh"}


def is_starter(name: str) -> bool:
    """Say whether a data set name means data that the package carries."""
    return name in _FOLDERS


def starter_folder(name: str) -> Path:
    """Return the folder with train.csv and validation.csv of a starter set."""
    return Path(__file__).parent / "starter" / _FOLDERS[name]


def load_starter(name: str) -> dict[str, list[SourceTable]]:
    """Return the splits of a starter set; columns text, label, domain, trait."""
    return load_folder(starter_folder(name))
