"""Metrics against numbers worked out by hand."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from finetune30.problems import PROBLEMS, load_problem
from finetune30.problems.classification.decisions import sigmoid, softmax
from finetune30.problems.classification.metrics import measure_multi_label, measure_single_label
from finetune30.problems.regression.metrics import measure_regression
from finetune30.problems.trainables import load_trainable
from support.measured import compute_metrics


def test_single_label_metrics_match_the_confusion_matrix():
    logits = np.asarray([[2, 0], [0, 2], [0, 2], [3, 1]], dtype=np.float32)
    metrics = compute_metrics(logits, np.asarray([0, 1, 0, 1]), "single_label_classification", ("no", "yes"))
    assert metrics["accuracy"] == 0.5
    assert metrics["confusion_matrix"] == [[1, 1], [1, 1]]
    assert metrics["f1"] == metrics["precision"] == metrics["recall"] == 0.5


def test_macro_f1_counts_a_class_that_was_never_predicted_as_zero():
    logits = np.asarray([[1, 0]] * 4, dtype=np.float32)
    metrics = compute_metrics(logits, np.asarray([0, 0, 0, 1]), "single_label_classification", ("a", "b"))
    assert metrics["f1"] == pytest.approx((2 * 0.75 / 1.75 + 0) / 2)


def test_multi_label_metrics_name_every_label():
    logits = np.asarray([[1, -1], [1, 1]], dtype=np.float32)
    metrics = compute_metrics(logits, np.asarray([[1, 0], [1, 0]]), "multi_label_classification", ("a", "b"))
    assert metrics["accuracy"] == 0.5
    assert metrics["per_label"]["a"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 2}
    assert metrics["per_label"]["b"]["f1"] == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_what_is_counted_is_what_scikit_learn_counts_to_the_last_bit(seed: int) -> None:
    chosen = np.random.default_rng(seed)
    rows, classes = int(chosen.integers(1, 12)), int(chosen.integers(2, 7))
    labels, predicted = chosen.integers(0, chosen.integers(1, classes + 1), (2, rows))
    found = measure_single_label(predicted, labels, classes)
    theirs = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    assert (found["precision"], found["recall"], found["f1"]) == theirs[:3]
    assert found["accuracy"] == accuracy_score(labels, predicted)
    assert found["confusion_matrix"] == confusion_matrix(labels, predicted, labels=range(classes)).tolist()

    members, said = chosen.random((2, rows, classes)) < chosen.random((2, 1, classes)) * 0.7
    names = tuple("abcdefg"[:classes])
    several = measure_multi_label(said, members, names)
    theirs = precision_recall_fscore_support(members, said, average="macro", zero_division=0)
    assert (several["precision"], several["recall"], several["f1"]) == theirs[:3]
    assert several["accuracy"] == accuracy_score(members, said)
    assert several["f1_micro"] == f1_score(members, said, average="micro", zero_division=0)
    each = zip(*precision_recall_fscore_support(members, said, average=None, zero_division=0), strict=True)
    assert [tuple(of.values()) for of in several["per_label"].values()] == [tuple(one) for one in each]


def test_regression_metrics_and_undefined_correlation():
    labels = np.asarray([1.0, 2.0, 3.0])
    metrics = compute_metrics(np.asarray([[2.0], [3.0], [4.0]], dtype=np.float32), labels, "regression", ())
    assert metrics["mse"] == 1.0
    assert metrics["mae"] == 1.0
    assert metrics["pearson"] == pytest.approx(1.0)
    flat = compute_metrics(np.ones((3, 1), dtype=np.float32), labels, "regression", ())
    assert flat["pearson"] is None
    assert flat["spearman"] is None


def test_probabilities_sum_to_one_and_survive_large_logits():
    shares = softmax(np.asarray([[1000.0, 0.0, -1000.0]], dtype=np.float32))
    assert shares.sum() == pytest.approx(1.0)
    assert shares[0, 0] == pytest.approx(1.0)


def test_probabilities_of_classes_that_do_not_exclude_each_other_are_each_their_own() -> None:
    shares = sigmoid(np.asarray([[0.0, np.log(3.0)]], dtype=np.float32))
    assert shares[0].tolist() == pytest.approx([0.5, 0.75])


@pytest.mark.parametrize(
    ("name", "score", "greater"),
    [
        ("single_label_classification", "eval_accuracy", True),
        ("multi_label_classification", "eval_f1", True),
        ("regression", "eval_mse", False),
    ],
)
def test_both_halves_of_a_problem_name_the_same_score(name: str, score: str, greater: bool) -> None:
    for half in (load_problem(name), load_trainable(name, {"label_names": ["a", "b"]})):
        assert (half.name, half.score.name, half.score.greater_is_better) == (name, score, greater)
    assert name in PROBLEMS


def test_regression_counts_residuals_and_measures_the_mean_of_the_training_rows():
    labels = np.asarray([0.0, 0.0, 4.0, 4.0])
    predicted = np.asarray([1.0, 1.0, 4.0, 3.0])
    metrics = measure_regression(predicted, labels, 1.0)
    assert metrics["baseline"] == {"mse": 5.0, "mae": 2.0, "mean": 1.0}
    assert measure_regression(predicted, labels, None)["baseline"] is None
    assert metrics["residuals"] == {"edges": [-1.0, 0.0, 1.0], "counts": [1, 3]}


@pytest.mark.parametrize("predicted", [np.nan, np.inf])
def test_residuals_that_are_no_numbers_are_not_counted(predicted):
    logits = np.asarray([[0.0], [predicted]], dtype=np.float32)
    metrics = compute_metrics(logits, np.asarray([0.0, 1.0]), "regression", ())
    assert metrics["residuals"] is None


def test_residuals_too_alike_for_steps_are_not_counted():
    metrics = compute_metrics(np.full((9, 1), 3e38, dtype=np.float32), np.zeros(9), "regression", ())
    assert metrics["residuals"] is None
