"""What answers are worth on other rows: by the saved thresholds, and of those that are given."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from finetune30.blocks import Figure
from finetune30.problems.trainables import load_trainable
from finetune30.service.runs.test_looks import build_look_blocks
from finetune30.store.test_looks import Look
from finetune30.training.problem import JudgesAnswers

NAMES = ["ham", "spam"]
#: Probabilities of spam.
SHARES = np.array([0.1, 0.3, 0.3, 0.45, 0.9, 0.95])


def judge(problem_type: str, targets: Any, **described: Any) -> dict[str, Any]:
    spam = np.log(SHARES / (1 - SHARES)).astype(np.float32)
    one = np.full(len(spam), -9.0, np.float32)
    outputs = np.stack([one if problem_type.startswith("multi") else 0 * one, spam], axis=1)
    trainable = load_trainable(problem_type, {"label_names": NAMES})
    assert isinstance(trainable, JudgesAnswers)
    return trainable.judge_answers(outputs, np.asarray(targets), described)


@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification"])
def test_thresholds_decide_and_withheld_rows_are_left_out(problem_type: str) -> None:
    spam = np.array([0, 1, 1, 1, 1, 0])
    several = problem_type.startswith("multi")
    targets: Any = np.stack([0 * spam, spam], axis=1).astype(np.float32) if several else spam
    described = {"thresholds": {"spam": 0.2}, "least_confidence": 0.4}
    found = judge(problem_type, targets, **described)["eval_answers"]
    by_thresholds, at_one_half = SHARES > 0.2, SHARES > 0.5
    wanted = [f1_score(spam, one, average="binary" if several else "macro") for one in (by_thresholds, at_one_half)]
    expected = [one / 2 if several else one for one in wanted]  # nothing is ham where labels are decided each alone
    assert (found["f1"], found["f1_at_one_half"]) == pytest.approx(tuple(expected))
    assert (found["rows"], found["given"]) == (6, 4)  # spam with 0.3 is less sure than it is to be
    assert (found["wrong"], found["wrong_of_all"]) == (pytest.approx(1 / 4), pytest.approx(1 / 6))
    assert judge(problem_type, targets) == {} == judge(problem_type, targets, temperature=2.0)
    none = judge(problem_type, targets, least_confidence=0.99)["eval_answers"]
    assert (none["given"], none["wrong"]) == (0, None)


def test_a_look_shows_them_beside_the_plain_figures() -> None:
    found = judge("single_label_classification", [0, 1, 1, 1, 1, 0], thresholds={"spam": 0.2}, least_confidence=0.4)
    result = {
        **{"rows": 6, "rows_read": 6, "left_out": {}, "near_leakage": 0, "interval": None, "score": 0.5},
        **{"score_name": "eval_accuracy", "score_format": "percent", "problem_type": "single_label_classification"},
        **{"targets": {"label_names": NAMES}, "metrics": {"eval_accuracy": 0.5, **found}},
    }
    blocks = build_look_blocks([Look(1, "1", 1, datetime.now(UTC), "", None, False, result, None)])
    plain, f1, answered, wrong = [one for one in blocks if isinstance(one, Figure)]
    assert plain.title.en == "eval_accuracy, test rows"
    assert answered.value == pytest.approx(4 / 6)
    assert (answered.rows, wrong.value, wrong.rows) == (6, 0.25, 4)
    assert f1.baseline is not None
    assert wrong.baseline is not None
    assert (f1.baseline[1], wrong.baseline[1]) == (
        found["eval_answers"]["f1_at_one_half"],
        found["eval_answers"]["wrong_of_all"],
    )
    without = result | {"metrics": {"eval_accuracy": 0.5}}
    blocks = build_look_blocks([Look(1, "1", 1, datetime.now(UTC), "", None, False, without, None)])
    assert [one.title.en for one in blocks if isinstance(one, Figure)] == ["eval_accuracy, test rows"]
