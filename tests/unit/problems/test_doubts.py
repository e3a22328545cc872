"""When an evaluation shows that nothing was learnt, against scipy and resampling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_rel

from finetune30.problems.classification.doubts import _gain_interval, doubt_multi_label, doubt_single_label
from finetune30.problems.regression.doubts import doubt_regression
from finetune30.problems.shared.intervals import mean_interval
from finetune30.training.problem import Doubt


def codes(doubts: list[Doubt]) -> list[str]:
    assert all(doubt.words.en and doubt.words.zh for doubt in doubts)
    return [doubt.code for doubt in doubts]


def single(right: tuple[int, int], wrong: tuple[int, int]) -> list[Doubt]:
    """Judge rows of two classes: of each, how many are answered rightly and wrongly."""
    labels = np.repeat([0, 0, 1, 1], [right[0], wrong[0], right[1], wrong[1]])
    predicted = np.repeat([0, 1, 1, 0], [right[0], wrong[0], right[1], wrong[1]])
    return doubt_single_label(predicted, labels, ("no", "yes"))


def test_one_class_for_all_rows_is_named_with_its_share() -> None:
    (found,) = single(right=(0, 40), wrong=(60, 0))
    assert found.code == "one_answer"
    assert found.words.en == "all 100 evaluation rows got the same answer, 'yes' (right for 40.0 %)"
    assert "「yes」" in found.words.zh
    assert "40.0 %" in found.words.zh


@pytest.mark.parametrize("right", range(50, 101, 2))
def test_accuracy_is_doubted_as_long_as_its_interval_reaches_the_majority(right: int) -> None:
    # 50 rows of each class, as many right of both.
    low = binomtest(right, 100).proportion_ci(method="wilson").low
    found = single(right=(right // 2, right // 2), wrong=(50 - right // 2, 50 - right // 2))
    assert codes(found) == (["not_above_baseline"] if low <= 0.5 else [])


def test_accuracy_below_that_of_the_majority_is_doubted_with_both_numbers() -> None:
    (found,) = single(right=(70, 5), wrong=(10, 15))
    assert found.words.en == (
        "accuracy 75.0 % on 100 evaluation rows (95 % interval 65.7 to 82.5 %) is not clearly above the 80.0 % of "
        "always answering 'no'"
    )


def test_rows_of_one_class_prove_nothing_even_when_all_are_right() -> None:
    assert codes(single(right=(20, 0), wrong=(0, 0))) == ["not_above_baseline"]


def test_one_set_for_all_rows_is_doubted() -> None:
    labels = np.asarray([[1, 0, 0], [0, 1, 1]] * 10, dtype=bool)
    names = ("a", "b", "c")
    (found,) = doubt_multi_label(np.zeros_like(labels), labels, names)
    assert (found.code, "'(none)' (right for 0.0 %)" in found.words.en) == ("one_answer", True)
    (found,) = doubt_multi_label(np.repeat(labels[1:2], 20, axis=0), labels, names)
    assert "'b, c' (right for 50.0 %)" in found.words.en


def test_multi_label_scores_must_lie_above_those_of_the_most_frequent_set() -> None:
    random = np.random.default_rng(3)
    labels = random.random((200, 4)) < [0.8, 0.5, 0.3, 0.2]
    names = ("a", "b", "c", "d")
    guessed = random.random((200, 4)) < [0.8, 0.5, 0.3, 0.2]
    assert codes(doubt_multi_label(guessed, labels, names)) == ["not_above_baseline"]
    assert codes(doubt_multi_label(labels, labels, names)) == []
    # Every row has one label too many, so none matches whole, but nearly all of each row is right.
    nearly = labels.copy()
    nearly[np.arange(200), labels.argmin(axis=1)] = True
    nearly[labels.all(axis=1), 0] = False
    assert (nearly == labels).all(axis=1).sum() == 0
    assert codes(doubt_multi_label(nearly, labels, names)) == []


def test_interval_of_micro_f1_is_that_of_resampled_rows() -> None:
    from sklearn.metrics import f1_score

    random = np.random.default_rng(5)
    labels = random.random((300, 3)) < 0.4
    predicted = labels ^ (random.random((300, 3)) < 0.15)
    other = np.broadcast_to(np.asarray([True, False, False]), labels.shape)
    gains = []
    for _ in range(400):
        rows = random.integers(0, 300, size=300)
        before, after = (f1_score(labels[rows], found[rows], average="micro") for found in (other, predicted))
        gains.append(after - before)
    assert _gain_interval(predicted, other, labels) == pytest.approx(np.quantile(gains, [0.025, 0.975]), abs=0.02)


def test_mean_interval_is_that_of_the_paired_t_test() -> None:
    random = np.random.default_rng(7)
    first, second = random.normal(size=30), random.normal(0.3, 2, size=30)
    expected = ttest_rel(first, second).confidence_interval(0.95)
    assert mean_interval(first - second) == pytest.approx((expected.low, expected.high))
    assert mean_interval(np.asarray([1.0])) == (-np.inf, np.inf)


def test_nearly_constant_predictions_are_doubted() -> None:
    labels = np.linspace(0.0, 5.0, 40)
    assert codes(doubt_regression(2.5 + 1e-3 * labels, labels, 2.5)) == ["one_answer"]
    assert codes(doubt_regression(2.5 + 1e-3 * labels, labels, None)) == ["one_answer"]
    assert codes(doubt_regression(2.5 + 0.5 * (labels - 2.5), labels, 2.5)) == []


@pytest.mark.parametrize("noise", [0.2, 0.8, 1.2, 2.0])
def test_squared_errors_must_lie_clearly_below_those_of_the_training_mean(noise: float) -> None:
    random = np.random.default_rng(11)
    labels = random.normal(size=60)
    predicted = labels + noise * random.normal(size=60)
    test = ttest_rel((labels - 0.1) ** 2, (labels - predicted) ** 2)
    expected = [] if test.confidence_interval(0.95).low > 0 else ["not_above_baseline"]
    assert codes(doubt_regression(predicted, labels, 0.1)) == expected
    assert doubt_regression(predicted, labels, None) == []
    assert bool(expected) == (noise > 0.7)


def test_one_row_proves_nothing_about_a_quantity() -> None:
    (found,) = doubt_regression(np.asarray([1.0]), np.asarray([1.0]), 1.0)
    assert found.code == "not_above_baseline"
    assert "inf" not in found.words.en + found.words.zh
