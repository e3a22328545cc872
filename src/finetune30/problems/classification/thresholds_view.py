"""The blocks that show tuned thresholds, and what they bring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetune30.blocks import Block, Column, Figure, Table, Words
from finetune30.values import is_number

_APPLIED = Words(
    "F1 (macro) by tuned thresholds, on rows they were not tuned on", "調整門檻後的 F1（macro，未用於調整的資料）"
)
_NO_BETTER = Words(
    "F1 (macro) by tuned thresholds (not applied: no better on rows they were not tuned on)",
    "調整門檻後的 F1（macro；未套用：在未用於調整的資料上沒有更好）",
)
_MISSING = Words("Tuned thresholds (too few rows)", "調整門檻（資料太少）")
_ONE_HALF = Words("at one half", "以一半為門檻")
_THRESHOLDS = Words("Thresholds of answers", "回答使用的門檻")
_COLUMNS = (Column(Words("Label", "標籤"), "text"), Column(Words("Answered above", "高於此機率即回答"), "percent"))


def threshold_figures(metrics: Mapping[str, Any]) -> list[Block]:
    """Return F1 by thresholds of other rows beside that at one half; nothing where none were asked for.

    metrics: the tree of a run's metrics.json.
    """
    found = metrics.get("eval_thresholds")
    if not isinstance(found, Mapping) or not is_number(found.get("crossfitted_f1")):
        return []
    if not found.get("thresholds"):
        return [Figure(_MISSING, None, "number")]
    title = _APPLIED if found.get("is_applied") else _NO_BETTER
    plain: Any = found.get("f1")
    baseline = (_ONE_HALF, float(plain)) if is_number(plain) else None
    return [Figure(title, found["crossfitted_f1"], "percent", baseline=baseline)]


def threshold_table(metrics: Mapping[str, Any]) -> list[Block]:
    """Return the threshold of each label, where answers are given by them."""
    found = metrics.get("eval_thresholds")
    thresholds = found.get("thresholds") if isinstance(found, Mapping) and found.get("is_applied") else None
    if not isinstance(thresholds, Mapping) or not all(map(is_number, thresholds.values())):
        return []
    rows = tuple((str(name), share) for name, share in thresholds.items())
    return [Table(_THRESHOLDS, _COLUMNS, rows)] if rows else []
