"""The paired permutation test and the bootstrap of losses, against hand counts, scipy and what an interval promises."""

from __future__ import annotations

import time
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap, permutation_test

from finetune30.service.statistics.paired_losses import ENUMERATED_ROWS, PairedLosses, compare_losses


def losses(*values: float) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)


def compare(first: NDArray[np.float64], second: NDArray[np.float64]) -> PairedLosses:
    return compare_losses(np.stack([first, second], axis=1))[0, 1]


def compared(differences: NDArray[np.float64]) -> PairedLosses:
    """Compare two runs that differ so much, row by row, from losses that they have in common."""
    return compare(np.full(len(differences), 16.0), 16.0 + differences)


def mean(values: NDArray[np.float64], axis: int) -> Any:
    return np.mean(values, axis=axis)


def test_three_rows_are_enumerated_as_by_hand() -> None:
    # Signs of 1, 2, 3: sums of 6, 4, 2, 0 and their opposites; only the two of 6 are as far out as the one seen.
    assert compared(losses(1, 2, 3)).p_value == 2 / 8
    # -1, 2, 3 add up to 4: as far out are 6, 4 and their opposites.
    assert compared(losses(-1, 2, 3)).p_value == 4 / 8


@pytest.mark.parametrize("rows", [1, 2, 7, ENUMERATED_ROWS])
def test_few_rows_have_the_share_of_all_signs_that_are_as_extreme(rows: int) -> None:
    differences = np.random.default_rng(rows).integers(-5, 9, rows).astype(np.float64)
    differences[differences == 0] = 1.0
    seen = abs(sum(differences))
    extreme = sum(abs(np.dot(signs, differences)) >= seen for signs in product((-1, 1), repeat=rows))
    assert compared(differences).p_value == extreme / 2**rows


def test_few_rows_agree_with_scipy() -> None:
    differences = np.random.default_rng(3).normal(0.4, 1, 10)
    expected = permutation_test((differences,), mean, permutation_type="samples", n_resamples=np.inf, vectorized=True)
    assert compared(differences).p_value == pytest.approx(expected.pvalue)


def test_many_rows_agree_with_scipy() -> None:
    differences = np.random.default_rng(4).normal(0.15, 1, 120)
    expected = permutation_test(
        (differences,), mean, permutation_type="samples", n_resamples=20_000, vectorized=True, rng=1
    )
    # Both are drawn: three standard errors of a share near 0.1 among 9,999.
    assert compared(differences).p_value == pytest.approx(expected.pvalue, abs=3 * (0.1 * 0.9 / 9999) ** 0.5 + 0.004)


def test_rows_without_a_difference_change_nothing_about_the_p_value() -> None:
    assert compared(losses(1, 0, 2, 0, 3, *[0] * 50)).p_value == 2 / 8


def test_equal_losses_have_a_p_value_of_one() -> None:
    found = compare(losses(1, 2, 3), losses(1, 2, 3))
    assert (found.p_value, found.difference, found.interval) == (1.0, 0.0, (0.0, 0.0))


def test_a_p_value_of_many_rows_is_never_zero() -> None:
    # No drawing of 9,999 turns all 200 alike: the one seen remains, 1 of 10,000.
    assert compared(np.ones(200)).p_value == 1 / 10_000


def test_zeros_and_ones_are_ties_in_any_order_of_adding_up() -> None:
    # 20 rows worse by 0.1 and 8 better: the exact binomial test of 8 among 28.
    differences = np.random.default_rng(0).permutation([0.1] * 20 + [-0.1] * 8)
    assert compared(differences).p_value == pytest.approx(0.0357, abs=0.006)


def test_p_values_of_runs_that_are_alike_are_even() -> None:
    chosen = np.random.default_rng(5)
    found = [compared(chosen.exponential(size=12) * chosen.choice([-1, 1], 12)).p_value for _ in range(600)]
    assert np.mean(np.asarray(found) <= 0.05) == pytest.approx(0.05, abs=0.027)  # three standard errors
    assert np.mean(np.asarray(found) <= 0.5) == pytest.approx(0.5, abs=0.062)


def test_interval_agrees_with_scipy() -> None:
    differences = np.random.default_rng(6).exponential(1.0, 60) - 0.8
    expected = bootstrap((differences,), np.mean, n_resamples=100_000, method="BCa", batch=10_000, rng=2)
    ends = (expected.confidence_interval.low, expected.confidence_interval.high)
    assert compared(differences).interval == pytest.approx(ends, abs=0.015)  # a tenth of the standard error


def test_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    chosen = np.random.default_rng(7)
    covered = 0
    for _ in range(300):
        # Squared errors of two runs on 50 rows: normal errors of spread 1.2 and 1, so 0.44 apart.
        first, second = chosen.normal(0, 1.2, 50) ** 2, chosen.normal(0, 1, 50) ** 2
        interval = compare(first, second).interval
        assert interval is not None
        covered += interval[0] <= -0.44 <= interval[1]
    assert 0.90 <= covered / 300 <= 0.98


def test_a_single_row_has_no_interval() -> None:
    found = compare(losses(1), losses(3))
    assert (found.difference, found.p_value, found.interval) == (2.0, 1.0, None)


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        compare(losses(), losses())


def test_pairs_of_several_runs_are_those_of_two() -> None:
    chosen = np.random.default_rng(10)
    several = chosen.exponential(size=(200, 3)) + np.asarray([0.0, 0.1, 0.3])
    found = compare_losses(several)
    assert list(found) == [(0, 1), (0, 2), (1, 2)]
    for (first, second), pair in found.items():
        alone = compare(several[:, first], several[:, second])
        assert pair.p_value == pytest.approx(alone.p_value, abs=2e-4)
        assert pair.interval == pytest.approx(alone.interval)
        assert pair.difference == alone.difference


def test_the_same_losses_give_the_same_answer_and_the_other_way_round_its_opposite() -> None:
    chosen = np.random.default_rng(8)
    first, second = chosen.exponential(size=300), chosen.exponential(size=300)
    found, again, turned = (
        compare(first, second),
        compare(first, second),
        compare(second, first),
    )
    assert found == again
    assert turned.difference == pytest.approx(-found.difference)
    assert turned.p_value == found.p_value


def test_eight_runs_on_a_hundred_thousand_rows_take_seconds() -> None:
    chosen = np.random.default_rng(9)
    several = np.repeat(chosen.exponential(size=(100_000, 1)), 8, axis=1)
    several[:, 1:] += chosen.normal(0.02, 1, (100_000, 7))
    start = time.process_time()
    found = compare_losses(several)[0, 1]
    assert time.process_time() - start < 120  # about 7 on the machine that this was written on
    # So many rows are as good as normal: 0.02 in steps of 1 / sqrt(100,000).
    assert found.interval == pytest.approx((found.difference - 0.0062, found.difference + 0.0062), abs=6e-4)
    assert found.p_value == 1 / 10_000
