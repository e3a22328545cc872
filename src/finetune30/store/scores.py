"""The score of a run in the database: its columns, read from the metrics tree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NO_SCORE = dict.fromkeys(("score", "score_name", "score_greater_is_better", "score_rank"))


def score_columns(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns score, score_name, score_greater_is_better and score_rank; all null without a finite score.

    An attempt of the release before, whose result is recorded by this one, named no score: it is the one of its
    metrics by which such runs were judged.
    """
    name = metrics.get("score_name")
    if isinstance(name, str):
        return _columns(name, metrics.get("score"), metrics.get("score_greater_is_better") is not False)
    if "eval_mse" in metrics:
        return _columns("eval_mse", metrics["eval_mse"], greater_is_better=False)
    if "eval_f1_micro" in metrics:
        return _columns("eval_f1", metrics.get("eval_f1"), greater_is_better=True)
    return _columns("eval_accuracy", metrics.get("eval_accuracy"), greater_is_better=True)


def score_rank(score: float | None, greater_is_better: bool | None) -> float | None:
    """Return the score with its sign turned where less is better: among runs of one score the greater is the better."""
    return score if score is None or greater_is_better else -score


def finite_number(value: Any) -> float | None:
    """Return a finite number as float, None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _columns(name: str, value: Any, greater_is_better: bool) -> dict[str, Any]:
    score = finite_number(value)
    if score is None:
        return NO_SCORE
    return {
        "score": score,
        "score_name": name,
        "score_greater_is_better": greater_is_better,
        "score_rank": score_rank(score, greater_is_better),
    }
