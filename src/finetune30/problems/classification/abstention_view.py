"""The blocks that show how often a model is wrong by how much it answers, and what it withholds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetune30.blocks import Block, Curve, Figure, Words, format_value
from finetune30.values import is_number

_COVERAGE = Words("Questions answered (the others: not sure)", "有回答的問題（其餘：不確定）")
_WRONG = Words("Wrong among these", "其中答錯")
_AT_MOST = Words("at most, with 95 % certainty", "最多（95 % 把握）")
#: A temperature and thresholds were fitted on these rows too, on other ones than they are told of.
_ABOUT_AT_MOST = Words("at most, with about 95 % certainty", "最多（約 95 % 把握）")


def abstention_figures(metrics: Mapping[str, Any]) -> list[Block]:
    """Return which share is answered and how much of it is wrong; nothing where every question is to be answered.

    metrics: the tree of a run's metrics.json.
    """
    found = metrics.get("eval_abstention")
    if not isinstance(found, Mapping) or not is_number(found.get("risk")):
        return []
    if not found.get("is_applied"):
        risk = format_value(found["risk"], "percent")
        title = Words(
            f"Questions answered (not applied: these rows cannot show {risk} or less wrong)",
            f"有回答的問題（未套用：這些資料無法證明答錯不超過 {risk}）",
        )
        return [Figure(title, None, "percent")]
    bound: Any = found.get("bound")
    most = _ABOUT_AT_MOST if found.get("is_approximate") else _AT_MOST
    return [
        Figure(_COVERAGE, found.get("coverage"), "percent"),
        Figure(_WRONG, found.get("wrong"), "percent", baseline=(most, bound) if is_number(bound) else None),
    ]


def risk_curve(metrics: Mapping[str, Any]) -> list[Block]:
    """Return the share of wrong answers by the share of questions that is answered, surest first."""
    points = metrics.get("eval_risk_coverage")
    if not isinstance(points, list) or len(points) < 2:
        return []
    if not all(isinstance(one, list) and len(one) == 2 and all(map(is_number, one)) for one in points):
        return []
    title = Words("Wrong answers, where only the surest are given", "只回答最有把握的問題時的錯誤")
    line = tuple((answered, wrong) for answered, wrong in points)
    return [Curve(title, Words("Share answered", "回答比例"), Words("Share that is wrong", "答錯比例"), {"rows": line})]
