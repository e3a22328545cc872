"""The blocks that show whether probabilities can be believed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetune30.blocks import Block, Curve, Figure, Words
from finetune30.values import is_number

_ECE = Words("Calibration error", "校準誤差")
_SCALED = Words("scaled by a temperature", "以溫度縮放後")
_APPLIED = Words("Temperature of answers", "回答使用的溫度")
_FITTED = Words("Temperature (not applied)", "溫度（未套用）")
_WORSE = Words("Temperature (not applied: it makes it worse)", "溫度（未套用：套用後更差）")
_MISSING = Words("Temperature (too few rows)", "溫度（資料太少）")


def calibration_figures(metrics: Mapping[str, Any]) -> list[Block]:
    """Return the calibration error, what a temperature makes of it, and that temperature.

    metrics: the tree of a run's metrics.json; earlier versions measured none of it.
    """
    found = metrics.get("eval_calibration")
    if not isinstance(found, Mapping) or not is_number(found.get("ece")):
        return []
    scaled, interval, temperature = found.get("scaled"), found.get("ece_interval"), found.get("temperature")
    after: Any = scaled.get("ece") if isinstance(scaled, Mapping) else None
    drawn: list[Block] = [
        Figure(
            _ECE,
            found["ece"],
            "percent",
            interval=(interval[0], interval[1]) if isinstance(interval, list) and len(interval) == 2 else None,
            baseline=(_SCALED, float(after)) if is_number(after) else None,
        )
    ]
    if is_number(temperature):
        applied = found.get("is_applied")
        title = _APPLIED if applied else _FITTED if applied is None else _WORSE
        drawn.append(Figure(title, temperature, "number"))
    elif found.get("is_applied") is False:
        drawn.append(Figure(_MISSING, None, "number"))
    return drawn


def reliability_curve(metrics: Mapping[str, Any]) -> list[Block]:
    """Return how often answers are right by how sure they are: of those that can be believed both are the same."""
    found = metrics.get("eval_calibration")
    bins = found.get("bins") if isinstance(found, Mapping) else None
    if not isinstance(bins, list) or len(bins) < 2:
        return []
    if not all(isinstance(one, list) and len(one) == 3 and all(map(is_number, one)) for one in bins):
        return []
    title = Words("Reliability (believable: as often right as sure)", "可靠度（可信：信心等於答對比例）")
    points = tuple((sure, right) for sure, right, _ in bins)
    return [Curve(title, Words("How sure", "信心"), Words("Share that is right", "答對比例"), {"rows": points})]
