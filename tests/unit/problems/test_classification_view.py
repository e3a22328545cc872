"""Blocks of labels against scikit-learn's report, SciPy's interval and counts worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import classification_report, f1_score

from finetune30.blocks import Block, Figure, Matrix, Table
from finetune30.problems.classification.view import view_multi_label, view_single_label
from finetune30.problems.shared.intervals import wilson_interval
from support.measured import compute_metrics

NAMES = ("anger", "middle", "zest")


def of_kind(blocks: Sequence[Block], kind: type[Any], title: str) -> Any:
    (found,) = [block for block in blocks if isinstance(block, kind) and block.title.en == title]
    return found


def measured(logits: Any, labels: Any, problem_type: str) -> dict[str, Any]:
    found = compute_metrics(np.asarray(logits, dtype=np.float32), labels, problem_type, NAMES)
    return {f"eval_{name}": value for name, value in found.items()} | {"eval_loss": 0.25, "eval_samples": len(labels)}


@pytest.fixture
def answers() -> tuple[Any, Any]:
    """True and answered classes of 90 rows; the last class is rare and never answered."""
    chance = np.random.default_rng(7)
    true = np.asarray([0] * 50 + [1] * 36 + [2] * 4)
    return true, np.where(chance.random(90) < 0.7, true, chance.integers(0, 2, 90)).clip(0, 1)


@pytest.fixture
def single(answers: tuple[Any, Any]) -> list[Block]:
    true, answered = answers
    metrics = measured(np.eye(3)[answered], true, "single_label_classification")
    return view_single_label(metrics, {"label_names": list(NAMES)})


def test_each_label_is_as_scikit_learn_reports_it(answers: tuple[Any, Any], single: list[Block]) -> None:
    report = classification_report(
        *answers, labels=range(3), target_names=NAMES, output_dict=True, zero_division=np.float64(0)
    )
    table = of_kind(single, Table, "Each label")
    assert [column.title.en for column in table.columns] == [
        *("Label", "Precision", "Recall", "95 % from", "95 % to", "F1", "Rows")
    ]
    for name, precision, recall, low, high, f1, rows in table.rows:
        wanted = report[name]
        found = (precision, recall, f1, rows)
        assert found == pytest.approx([wanted[key] for key in ("precision", "recall", "f1-score", "support")])
        interval = binomtest(round(wanted["recall"] * rows), rows).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((interval.low, interval.high))
    assert table.filters == ({"label": "anger"}, {"label": "middle"}, {"label": "zest"})


def test_accuracy_comes_with_rows_interval_and_what_the_most_frequent_label_gives(
    answers: tuple[Any, Any], single: list[Block]
) -> None:
    true, answered = answers
    right = int((true == answered).sum())
    accuracy = of_kind(single, Figure, "Accuracy")
    assert (accuracy.value, accuracy.rows) == (pytest.approx(right / 90), 90)
    interval = binomtest(right, 90).proportion_ci(method="wilson")
    assert accuracy.interval == pytest.approx((interval.low, interval.high))
    words, share = accuracy.baseline
    assert ("anger" in words.en, "anger" in words.zh, share) == (True, True, pytest.approx(50 / 90))
    assert accuracy.filter[1] == {"outcome": False}
    assert of_kind(single, Figure, "F1 (macro)").value == pytest.approx(f1_score(true, answered, average="macro"))
    assert of_kind(single, Figure, "Evaluation loss").value == 0.25


@pytest.mark.parametrize(("right", "rows"), [(0, 1), (1, 1), (0, 20), (20, 20), (1, 3), (81, 263), (872, 1000)])
def test_interval_is_that_of_wilson(right: int, rows: int) -> None:
    wanted = binomtest(right, rows).proportion_ci(method="wilson")
    assert wilson_interval(right, rows) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_interval_is_the_published_one() -> None:
    """Newcombe (1998), Statistics in Medicine 17, table I: method 3 for 81 of 263, 15 of 148, 0 of 20."""
    published = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0.0, 0.1611)}
    for (right, rows), wanted in published.items():
        assert wilson_interval(right, rows) == pytest.approx(wanted, abs=5e-5)


def test_matrix_and_most_confused_pairs_lead_to_their_rows() -> None:
    metrics = {"eval_confusion_matrix": [[5, 0, 2], [1, 6, 0], [3, 0, 0]], "eval_accuracy": 11 / 17}
    blocks = view_single_label(metrics, {"label_names": list(NAMES)})
    matrix = of_kind(blocks, Matrix, "Confusion matrix")
    assert matrix.values == ((5, 0, 2), (1, 6, 0), (3, 0, 0))
    assert (matrix.row_key, matrix.column_key, matrix.row_names) == ("label", "prediction", NAMES)
    pairs = of_kind(blocks, Table, "Most confused pairs")
    assert pairs.rows == (
        ("zest", "anger", 3, 1.0),
        ("anger", "zest", 2, pytest.approx(2 / 7)),
        ("middle", "anger", 1, pytest.approx(1 / 7)),
    )
    assert pairs.filters[0] == {"label": "zest", "prediction": "anger"}


def test_several_labels_a_row_show_exact_matches_and_each_label() -> None:
    labels = np.asarray([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0]], dtype=np.float32)
    answered = np.asarray([[1, 0, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0]])
    blocks = view_multi_label(measured(answered * 2 - 1, labels, "multi_label_classification"))
    exact = of_kind(blocks, Figure, "Exact match")
    interval = binomtest(3, 4).proportion_ci(method="wilson")
    assert (exact.value, exact.rows, exact.interval) == (0.75, 4, pytest.approx((interval.low, interval.high)))
    for title, average in (("F1 (micro)", "micro"), ("F1 (macro)", "macro")):
        assert of_kind(blocks, Figure, title).value == pytest.approx(f1_score(labels, answered, average=average))
    report = classification_report(labels, answered, target_names=NAMES, output_dict=True, zero_division=0)
    table = of_kind(blocks, Table, "Each label")
    wanted = [[report[name][key] for key in ("precision", "recall", "f1-score", "support")] for name in NAMES]
    found = [[*row[1:3], *row[5:]] for row in table.rows]
    assert found == [pytest.approx(row) for row in wanted]
    assert table.filters[1] == {"label": "middle"}


def test_among_many_labels_the_most_confused_pairs_come_before_the_matrix() -> None:
    for count, kinds in ((15, ["table", "matrix", "table"]), (16, ["table", "table", "matrix"])):
        counts = np.eye(count, dtype=int).tolist()
        counts[2][1] = 4
        blocks = view_single_label({"eval_confusion_matrix": counts}, {})
        assert [block.kind for block in blocks] == kinds
        assert of_kind(blocks, Table, "Most confused pairs").rows == (("2", "1", 4, 0.8),)


@pytest.mark.parametrize(
    ("metrics", "kinds"),
    [
        ({}, []),
        ({"eval_accuracy": 0.5}, ["figure"]),
        ({"eval_accuracy": None, "eval_loss": 0.1}, ["figure"]),
        ({"eval_confusion_matrix": [[1, 2]]}, []),
        ({"eval_confusion_matrix": "lost"}, []),
        ({"eval_confusion_matrix": [[0, 0], [0, 0]], "eval_accuracy": 0.0}, ["figure", "table", "matrix"]),
    ],
)
def test_what_older_metrics_lack_is_left_out(metrics: dict[str, Any], kinds: list[str]) -> None:
    assert [block.kind for block in view_single_label(metrics, {})] == kinds


@pytest.mark.parametrize(
    ("labels", "kinds"), [(None, []), ({}, []), ({"a": {"f1": 0.5}, "b": None}, ["table"])], ids=["none", "no", "some"]
)
def test_figures_of_several_labels_that_are_not_there_are_left_out(labels: Any, kinds: list[str]) -> None:
    assert [block.kind for block in view_multi_label({"eval_per_label": labels})] == kinds


def test_matrix_without_names_is_numbered_and_a_huge_one_is_not_drawn() -> None:
    table = of_kind(
        view_single_label({"eval_confusion_matrix": [[1, 0], [0, 1]]}, {"label_names": ["one"]}), Table, "Each label"
    )
    assert [row[0] for row in table.rows] == ["0", "1"]
    huge = np.eye(201, dtype=int).tolist()
    assert [block.kind for block in view_single_label({"eval_confusion_matrix": huge}, {})] == ["table"]
