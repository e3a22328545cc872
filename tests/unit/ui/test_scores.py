"""The score of a run is written as its problem says, or as its name tells where nobody said."""

from __future__ import annotations

from typing import Any

import pytest

from finetune30.ui.scores import score_value, shares_among


@pytest.mark.parametrize(
    ("run", "shown"),
    [
        ({"score": 0.875, "score_name": "eval_hits", "score_format": "percent"}, "87.5 %"),
        ({"score": 0.875, "score_name": "eval_accuracy", "score_format": "number"}, "0.875"),
        ({"score": 0.875, "score_name": "eval_accuracy", "score_format": None}, "87.5 %"),
        ({"score": 0.875, "score_name": "eval_hits"}, "0.875"),
        ({"score": None, "score_name": None, "score_format": None}, "\u2013"),
    ],
)
def test_the_format_of_the_problem_goes_before_the_name(run: dict[str, Any], shown: str) -> None:
    assert score_value(run) == shown


def test_scores_of_runs_say_whether_they_are_shares() -> None:
    runs: list[dict[str, Any]] = [
        {"score_name": "eval_hits", "score_format": None},  # of an earlier version
        {"score_name": "eval_hits", "score_format": "percent"},
        {"score_name": None},
        {"score_name": "eval_f1", "score_format": "number"},
        {"score_name": "eval_accuracy", "score_format": None},
        {"score_name": "eval_mse"},
    ]
    assert shares_among(runs) == {"eval_hits": True, "eval_f1": False, "eval_accuracy": True, "eval_mse": False}
    assert list(shares_among(runs)) == ["eval_hits", "eval_f1", "eval_accuracy", "eval_mse"]
