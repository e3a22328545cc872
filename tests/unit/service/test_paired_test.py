"""McNemar's exact test, its interval and adjustment, against published and independently computed values."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from finetune30.service.statistics.mcnemar import adjust_holm, compare_paired, exact_p_value


@given(st.integers(0, 400), st.integers(0, 400))
def test_p_value_is_the_binomial_test_of_discordant_rows(first, second):
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert exact_p_value(first, second) == pytest.approx(expected, abs=1e-9)


def test_interval_of_many_rows_is_that_of_the_large_sample_formula():
    # 1600 rows, 150 and 86 discordant: 0.04 -+ 1.96 * sqrt(236 - 64**2 / 1600) / 1600, computed by hand.
    first = [True] * 794 + [True] * 150 + [False] * 86 + [False] * 570
    second = [True] * 794 + [False] * 150 + [True] * 86 + [False] * 570
    test = compare_paired(second, first)
    assert test.difference == pytest.approx(64 / 1600)
    assert test.interval == pytest.approx((0.0213, 0.0587), abs=2e-4)


def test_interval_covers_the_true_difference_of_small_samples_as_often_as_it_says():
    chosen, covered = random.Random(1), 0
    for _ in range(2000):
        pairs = chosen.choices([(1, 1), (1, 0), (0, 1), (0, 0)], weights=(70, 8, 15, 7), k=60)
        low, high = compare_paired([a == 1 for a, _ in pairs], [b == 1 for _, b in pairs]).interval
        covered += low <= 0.07 <= high
    assert 0.935 <= covered / 2000 <= 0.985


def test_equal_answers_are_not_distinguishable():
    test = compare_paired([True, False], [True, False])
    assert (test.p_value, test.difference) == (1.0, 0.0)
    assert test.interval[0] < 0 < test.interval[1]


def test_holm_multiplies_by_the_number_left_and_never_falls():
    assert adjust_holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjust_holm([0.9, 0.8]) == [1.0, 1.0]
