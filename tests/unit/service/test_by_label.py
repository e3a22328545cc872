"""McNemar's test label by label, against a count row by row."""

from __future__ import annotations

import random

import polars as pl
import pytest
from scipy.stats import binomtest

from finetune30.service.runs.by_label import are_sets, compare_labels

NAMES = ("anger", "joy", "zest")


def sets(rows: list[list[str]]) -> pl.Series:
    return pl.Series(rows, dtype=pl.List(pl.String))


def test_a_label_is_right_where_it_stands_or_is_missing_as_it_should() -> None:
    truth = sets([["joy"], ["joy", "anger"], [], ["zest"]])
    first = sets([["joy"], ["anger"], ["anger"], ["zest"]])
    second = sets([[], ["joy", "anger"], [], ["zest"]])
    found = compare_labels(truth, [first, second])[0, 1]
    counts = {name: (test.rows, test.only_first_right, test.only_second_right) for name, test in found.items()}
    # joy: row 0 has it, only the first says so; row 1 has it, only the second says so. anger: row 2 has it not.
    assert counts == {"anger": (4, 0, 1), "joy": (4, 1, 1), "zest": (4, 0, 0)}


def test_many_rows_agree_with_a_count_row_by_row() -> None:
    chosen = random.Random(1)

    def draw(share: float) -> list[list[str]]:
        return [[name for name in NAMES if chosen.random() < share] for _ in range(300)]

    truth, first, second = draw(0.5), draw(0.5), draw(0.3)
    found = compare_labels(sets(truth), [sets(first), sets(second)])[0, 1]
    assert list(found) == list(NAMES)
    for name, test in found.items():
        right = [
            [(name in given) == (name in true) for given, true in zip(run, truth, strict=True)]
            for run in (first, second)
        ]
        only_first = sum(a and not b for a, b in zip(*right, strict=True))
        only_second = sum(b and not a for a, b in zip(*right, strict=True))
        assert (test.only_first_right, test.only_second_right) == (only_first, only_second)
        assert test.p_value == pytest.approx(binomtest(only_first, only_first + only_second).pvalue)
        assert test.difference == pytest.approx((sum(right[1]) - sum(right[0])) / 300)


def test_a_label_that_only_a_run_names_counts() -> None:
    found = compare_labels(sets([[], []]), [sets([["new"], []]), sets([[], []])])[0, 1]
    assert (found["new"].only_first_right, found["new"].only_second_right) == (0, 1)


def test_sets_are_lists_of_names_that_stand_once() -> None:
    assert are_sets(sets([["a", "b"], []]), sets([["b"], ["a"]]))
    assert not are_sets(sets([["a", "a"]]))  # tags of words
    assert not are_sets(pl.Series(["a", "b"]))
    assert not are_sets(pl.Series([[1.0, 2.0]]))
