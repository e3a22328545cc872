"""The score of a run in the database: its columns, read from the metrics tree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

FORMATS = ("percent", "number")
NO_SCORE = dict.fromkeys(("score", "score_name", "score_greater_is_better", "score_rank", "score_format"))


def score_columns(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of NO_SCORE; all null without a finite score.

    `score_format` is one of FORMATS, null where the metrics say none that is known. An attempt of the release before,
    whose result is recorded by this one, named no score: it is the one of its metrics by which such runs were judged.
    """
    name = metrics.get("score_name")
    if isinstance(name, str):
        written = metrics.get("score_format")
        greater_is_better = metrics.get("score_greater_is_better") is not False
        return _columns(name, metrics.get("score"), greater_is_better, written if written in FORMATS else None)
    if "eval_mse" in metrics:
        return _columns("eval_mse", metrics["eval_mse"], greater_is_better=False, written="number")
    name = "eval_f1" if "eval_f1_micro" in metrics else "eval_accuracy"
    return _columns(name, metrics.get(name), greater_is_better=True, written="percent")


def score_rank(score: float | None, greater_is_better: bool | None) -> float | None:
    """Return the score with its sign turned where less is better: among runs of one score the greater is the better."""
    return score if score is None or greater_is_better else -score


def finite_number(value: Any) -> float | None:
    """Return a finite number as float, None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _columns(name: str, value: Any, greater_is_better: bool, written: str | None) -> dict[str, Any]:
    score = finite_number(value)
    if score is None:
        return NO_SCORE
    return {
        "score": score,
        "score_name": name,
        "score_greater_is_better": greater_is_better,
        "score_rank": score_rank(score, greater_is_better),
        "score_format": written,
    }
