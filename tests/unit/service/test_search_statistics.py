"""The end of a search: its verdicts are wrong as rarely as they say, luck and importance are those of the theory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from benchmarks.search_ends import Case, simulate, simulate_importance
from numpy.typing import NDArray
from scipy.stats import norm, studentized_range, ttest_ind

from finetune30.service.statistics.gains import Verdict, judge_gain
from finetune30.service.statistics.importance import SHUFFLES, measure_importance
from finetune30.service.statistics.luck import (
    expected_maximum,
    luck_of_best,
    near_best,
    reach_of_best,
    row_noise,
    seed_noise,
)
from finetune30.service.statistics.seeds import welch_interval

#: What a simulated rate at a nominal 5 % may be.
MOST_FALSE_POSITIVES = 0.075
Table = NDArray[np.float64]


@pytest.mark.parametrize("tests", [True, False])
def test_of_equal_configurations_the_best_is_rarely_called_better_or_any_worse(tests: bool) -> None:
    times = 80
    found = simulate(Case(60, 8, 3, 0.0, tests), times)
    assert found.verdicts[Verdict.BETTER] <= MOST_FALSE_POSITIVES * times
    assert found.worse <= MOST_FALSE_POSITIVES * times
    assert found.luck == pytest.approx(found.lead, rel=0.1), "what is told as luck is what luck made"


def test_a_gain_that_rows_can_tell_is_found_and_one_that_is_worth_it_is_rarely_ruled_out() -> None:
    times = 25
    assert simulate(Case(150, 4, 5, 0.18, tests=True), times).verdicts[Verdict.BETTER] >= 0.8 * times
    generator = np.random.default_rng(3)
    ruled_out = kept = 0
    for _ in range(60):
        sides = [outcomes(0.8 + gain, 80, 3, generator) for gain in (0.0, 0.1, 0.0)]
        ruled_out += is_kept(sides[0], sides[1], least_gain=0.1)
        kept += is_kept(sides[0], sides[2], least_gain=0.2)
    assert ruled_out <= MOST_FALSE_POSITIVES * 60
    assert kept >= 0.8 * 60


def is_kept(default: Table, best: Table, **options: Any) -> bool:
    return judge_gain(default, best, is_right=True, **options).verdict is Verdict.KEEP_DEFAULT


def outcomes(share: float, rows: int, seeds: int, generator: np.random.Generator) -> Table:
    return (generator.random((rows, seeds)) < share).astype(np.float64)


def test_each_verdict_says_what_it_takes() -> None:
    generator = np.random.default_rng(5)
    hard = (np.arange(400)[:, None] < 300).astype(np.float64)
    same = np.repeat(hard, 3, axis=1)
    assert judge_gain(same, same, is_right=True).verdict is Verdict.KEEP_DEFAULT
    more = np.repeat((np.arange(400)[:, None] < 340).astype(np.float64), 3, axis=1)
    better = judge_gain(same, more, is_right=True)
    assert better.verdict is Verdict.BETTER
    assert better.gain == pytest.approx(0.1)
    assert judge_gain(same, more, is_right=False).verdict is Verdict.KEEP_DEFAULT
    few = judge_gain(outcomes(0.8, 50, 3, generator), outcomes(0.8, 50, 3, generator), is_right=True)
    assert few.verdict is Verdict.NOT_ENOUGH
    assert few.rows_needed is not None
    assert few.rows_needed > 50
    assert few.seeds_needed is not None, "seeds are told by themselves, beside the rows"
    assert few.seeds_needed > 3
    chosen = judge_gain(same[:40], same[:40] + 0.0, is_right=True, tried=20)
    assert chosen.p_rows == 1.0
    with pytest.raises(ValueError, match="one seed"):
        judge_gain(same[:, :1], same, is_right=True)


def test_few_rows_without_any_spread_are_not_certain() -> None:
    right = np.ones((40, 3))
    found = judge_gain(right, right, is_right=True)
    assert found.verdict is Verdict.NOT_ENOUGH
    assert found.interval == pytest.approx((-1.96 / 42, 1.96 / 42), abs=1e-4)
    assert found.rows_needed is not None
    assert judge_gain(np.ones((found.rows_needed, 3)), np.ones((found.rows_needed, 3)), is_right=True).verdict is (
        Verdict.KEEP_DEFAULT
    )
    one = judge_gain(np.ones((1, 2)), np.zeros((1, 2)), is_right=True)
    assert (one.verdict, one.rows) == (Verdict.NOT_ENOUGH, 1)
    assert np.isfinite([one.gain, one.p_value, *(one.interval or ())]).all()
    none = judge_gain(np.zeros((9, 2)), np.zeros((9, 2)), is_right=False, least_gain=0.0)
    assert (none.verdict, none.rows_needed) == (Verdict.NOT_ENOUGH, None), "a loss of 0 cannot be told apart"


@pytest.mark.parametrize("tried", [500, 1000])
def test_many_trials_do_not_make_better_impossible(tried: int) -> None:
    hard = np.arange(200)[:, None] < 100
    before, after = (np.repeat((hard | more).astype(np.float64), 3, axis=1) for more in (False, hard[::-1]))
    after[150:] = 0.0
    assert judge_gain(before, after, is_right=True, tried=tried).verdict is Verdict.BETTER
    few = judge_gain(before, np.where(np.arange(200)[:, None] < 110, 1.0, before), is_right=True, tried=tried)
    assert few.verdict is Verdict.NOT_ENOUGH, "of ten rows that differ no signs tell it"
    assert few.rows_needed is not None
    assert few.rows_needed > 1.5 * 200


def test_where_seeds_and_not_rows_leave_it_open_more_seeds_are_asked_for() -> None:
    before = np.zeros((300, 2))
    after = np.stack([np.zeros(300), np.ones(300)], axis=1)  # one seed has it all
    found = judge_gain(before, after, is_right=True)
    assert (found.verdict, found.rows_needed) == (Verdict.NOT_ENOUGH, None)
    assert found.seeds_needed is not None
    assert found.seeds_needed > 2


def test_rows_needed_after_a_gain_are_those_that_tell_it() -> None:
    generator = np.random.default_rng(2)
    found, told = 0, []
    for _ in range(60):
        first = judge_gain(outcomes(0.8, 60, 3, generator), outcomes(0.88, 60, 3, generator), is_right=True)
        if first.rows_needed is not None and 0.07 < first.gain < 0.09:
            told.append(first.rows_needed)
    needed = round(float(np.median(told)))
    for _ in range(30):
        sides = outcomes(0.8, needed, 3, generator), outcomes(0.88, needed, 3, generator)
        found += judge_gain(*sides, is_right=True).p_rows < 0.05
    assert 0.65 < found / 30 < 0.95, "in four of five cases"


def test_the_interval_over_seeds_is_welchs() -> None:
    first, second = np.array([0.70, 0.74, 0.71]), np.array([0.75, 0.80, 0.79, 0.77])
    wanted = ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    assert welch_interval(first, second) == pytest.approx((wanted.low, wanted.high))
    assert welch_interval(first[:1], second) is None
    assert welch_interval(first[:2] * 0, first[:2] * 0) == (0.0, 0.0)


@pytest.mark.parametrize(("count", "wanted"), [(1, 0.0), (2, norm.pdf(0) * np.sqrt(2)), (4, 1.029), (20, 1.867)])
def test_the_largest_of_so_many_is_that_of_the_tables(count: int, wanted: float) -> None:
    assert expected_maximum(count) == pytest.approx(wanted, abs=1e-3)


def test_who_is_near_the_best_is_told_by_tukeys_range() -> None:
    generator = np.random.default_rng(0)
    table = generator.normal(size=(400, 6))
    table[:, 1:] -= table[:, 1:].mean(axis=0)
    table[:, 0] += 1 - table[:, 0].mean()
    repeats = [generator.normal(scale=0.2, size=(1, 3)) + generator.normal(size=(400, 3)) for _ in range(2)]
    spread = float(np.mean([one.mean(axis=0).var(ddof=1) for one in repeats]))
    for lead in (0.1, 0.3, 0.5, 0.7, 0.9):
        table[:, 1] += 1 - lead - table[:, 1].mean()
        error = float((table[:, 0] - table[:, 1]).var(ddof=1)) / 800 + spread
        alone = studentized_range.sf(lead / np.sqrt(error - spread), 6, np.inf)
        assert near_best(table, 0, greater_is_better=True)[1] == (alone >= 0.05)
        both = studentized_range.sf(lead / np.sqrt(error), 6, 4 * (error / spread) ** 2)
        assert near_best(table, 0, repeats, greater_is_better=True)[1] == (both >= 0.05)
    assert near_best(-table, 0, greater_is_better=False) == near_best(table, 0, greater_is_better=True)
    equal = np.zeros((5, 3))
    assert near_best(equal, 1, greater_is_better=True) == [True] * 3
    equal[:, 0] = -1.0  # worse on every row by the same: no chance in it
    assert near_best(equal, 1, greater_is_better=True) == [False, True, True]


def test_luck_counts_rows_and_what_seeds_move() -> None:
    generator = np.random.default_rng(4)
    table = generator.normal(size=(2000, 1)) + generator.normal(scale=0.5, size=(2000, 10))
    assert row_noise(table) == pytest.approx(0.5 / np.sqrt(2000), rel=0.05)
    moved = [
        generator.normal(size=(500, 1)) + generator.normal(scale=0.3, size=(1, 40)) + generator.normal(size=(500, 40))
        for _ in range(3)
    ]
    assert seed_noise(moved) == pytest.approx(0.3, rel=0.2)
    assert seed_noise([moved[0][:, :1]]) == 0.0
    assert luck_of_best(table, 0.3) == pytest.approx(expected_maximum(10) * np.hypot(row_noise(table), 0.3))


def test_the_reach_of_the_best_over_the_first_is_dunnetts() -> None:
    # one-sided 5 % points of Dunnett (1955), known variance, for 1, 2, 5 and 9 treatments, times the root of 2
    wanted = [0.0, *(point * np.sqrt(2) for point in (1.645, 1.916, 2.234, 2.417))]
    assert reach_of_best([1, 2, 3, 6, 10]) == pytest.approx(wanted, rel=0.005)


def test_in_noise_no_parameter_stands_out_and_one_that_counts_does() -> None:
    assert simulate_importance(16, 0.0, 80) <= MOST_FALSE_POSITIVES
    assert simulate_importance(30, 2.5, 20) >= 0.8


def test_importance_is_the_share_between_groups() -> None:
    values = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    labels: dict[str, list[float | None]] = {
        "all": [0, 0, 1, 1, 0, 0, 1, 1],
        "none": [0, 1, 0, 1, 0, 1, 0, 1],
        "absent": [None, None, 2, 2, None, None, 2, 2],
    }
    found = measure_importance(values, labels)
    assert [round(one.share, 9) for one in found.values()] == [1.0, 0.0, 1.0]
    assert measure_importance(values[:7], {"few": [0] * 7}) == {}
    assert not any(one.stands_out for one in measure_importance([1.0] * 8, labels).values())
    ordered = measure_importance(
        [float(n) for n in range(40)], {"rate": [10.0**n for n in range(40)]}, frozenset({"rate"})
    )
    assert ordered["rate"].share == pytest.approx(1 - (1 / 4) ** 2, abs=1e-3), "in four parts of ten trials"
    assert SHUFFLES > 1000
