"""How single metrics are written."""

from __future__ import annotations

from typing import Any

from finetune30.ui import display
from finetune30.ui.session import t

#: Ends of names whose values are shares.
_SHARES = ("accuracy", "f1", "precision", "recall")


def is_share(name: str) -> bool:
    """Tell whether a metric's values are shares (0-1)."""
    return name.endswith(_SHARES)


def metric_value(name: str, value: Any) -> str:
    """Return a metric with its unit, told from its name."""
    if is_share(name):
        return display.percent(value)
    if name.endswith("_bytes"):
        return display.size(value)
    if name.endswith("_runtime"):
        return display.duration(value, t)
    if name.endswith("samples_per_second"):
        return rows_per_second(value)
    return display.number(value)


def rows_per_second(value: Any) -> str:
    """Return a speed; nothing where there is none."""
    shown = display.number(value, 3)
    return shown if shown == display.NOTHING else t("unit.samples_per_second", value=shown)
