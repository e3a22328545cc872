"""Rows that belong together: tests and intervals by group, against hand counts, scipy and what 5 % promises."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap, permutation_test

from finetune30.problems import load_problem
from finetune30.service.runs.by_label import compare_labels
from finetune30.service.statistics.by_group import by_group
from finetune30.service.statistics.gains import Verdict, judge_gain
from finetune30.service.statistics.groups import (
    FEWEST_GROUPS,
    grouped_wilson,
    groups_needed,
    join_groups,
    number_groups,
)
from finetune30.service.statistics.luck import near_best, row_noise
from finetune30.service.statistics.mcnemar import compare_paired
from finetune30.service.statistics.paired_losses import compare_losses
from finetune30.service.statistics.score_interval import mean_score_interval, score_interval
from finetune30.service.statistics.seeds import compare_seeds

#: What a simulated rate at a nominal 5 % may be.
MOST_FALSE_POSITIVES = 0.075
Array = NDArray[Any]


def codes_of(sizes: list[int]) -> NDArray[np.int64]:
    found = number_groups(np.repeat(np.arange(len(sizes)), sizes))
    assert found is not None
    return found


def pair(differences: Array) -> Array:
    """Return the losses of two runs that differ so much, row by row."""
    return np.stack([np.full(len(differences), 8.0), 8.0 + differences], axis=1)


def test_groups_of_one_row_are_none_and_tell_what_rows_tell() -> None:
    assert number_groups(None) is None
    assert number_groups([]) is None
    assert number_groups(["a", "b", "c"]) is None
    assert number_groups([7, 3, 7]).tolist() == [1, 0, 1]  # type: ignore[union-attr]
    assert groups_needed(None) is None
    assert groups_needed(codes_of([2] * 9)) == FEWEST_GROUPS == 10
    assert groups_needed(codes_of([2] * 10)) is None


def test_rows_are_together_that_any_run_puts_together() -> None:
    one, other = number_groups([0, 0, 1, 2, 3, 4]), number_groups([0, 1, 1, 2, 3, 3])
    assert join_groups([one, None, other]).tolist() == [0, 0, 0, 1, 2, 2]  # type: ignore[union-attr]
    assert join_groups([None, None]) is None


def test_three_groups_are_enumerated_as_by_hand() -> None:
    # Sums of the groups are 3, 2, 3: of the eight signs only the two without a minus or a plus are as far out as 8.
    found = compare_losses(pair(np.array([1.0, 2, 2, 1, 1, 1])), groups=codes_of([2, 1, 3]))[0, 1]
    assert found.p_value == 2 / 8
    assert found.rows == 6
    assert found.difference == pytest.approx(8 / 6)
    # Sums of -1, 2 and 3: 4 and 6 with both signs are as far out as 4.
    assert compare_losses(pair(np.array([1.0, -2, 2, 3])), groups=codes_of([2, 1, 1]))[0, 1].p_value == 4 / 8


@pytest.mark.parametrize("groups", [4, 11])
def test_few_groups_have_the_share_of_all_signs_that_are_as_extreme(groups: int) -> None:
    generator = np.random.default_rng(groups)
    codes = codes_of(generator.integers(2, 5, groups).tolist())
    differences = generator.integers(-3, 5, len(codes)).astype(float)
    sums = [differences[codes == group].sum() for group in range(groups)]
    extreme = sum(abs(np.dot(signs, sums)) >= abs(sum(sums)) for signs in product((-1, 1), repeat=groups))
    assert compare_losses(pair(differences), groups=codes)[0, 1].p_value == extreme / 2**groups


def test_many_groups_agree_with_scipy() -> None:
    generator = np.random.default_rng(5)
    codes = codes_of([5] * 40)
    differences = generator.normal(0.0, 1, 200) + np.repeat(generator.normal(0.15, 0.5, 40), 5)
    sums = differences.reshape(40, 5).sum(axis=1)
    wanted = permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=9999, rng=1).pvalue
    found = compare_losses(pair(differences), groups=codes)[0, 1]
    assert found.p_value == pytest.approx(wanted, abs=4 * np.sqrt(wanted * (1 - wanted) / 9999) + 0.003)

    # Of groups of one size the mean of all rows is that of the groups' means.
    means = sums / 5
    low, high = bootstrap((means,), np.mean, method="BCa", n_resamples=9999, rng=2).confidence_interval
    assert found.interval == pytest.approx((low, high), abs=0.02)


def test_an_interval_weighs_groups_by_their_rows() -> None:
    generator = np.random.default_rng(6)
    sizes = generator.integers(1, 30, 30)
    codes = codes_of(sizes.tolist())
    differences = generator.normal(0.3, 0.2, len(codes)) + generator.normal(0, 0.5, 30)[codes]
    sums = np.bincount(codes, differences)
    drawn = generator.integers(0, 30, size=(4000, 30))
    wanted = np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [0.025, 0.975])
    found = compare_losses(pair(differences), groups=codes)[0, 1]
    assert found.interval == pytest.approx(tuple(wanted), abs=0.06)


def right_rows(groups: int, size: int, shared: float, lead: float, generator: np.random.Generator) -> Array:
    """Return right rows of two runs, (runs, groups, rows): what a run makes of a row is partly that of its group."""
    hard = generator.normal(0.9, 1.0, size=(groups, size))
    own = np.sqrt(shared) * generator.normal(0, 0.6, size=(2, groups, 1))
    own = own + np.sqrt(1 - shared) * generator.normal(0, 0.6, size=(2, groups, size))
    own[1] += lead
    return (hard + own > 0).astype(np.float64)


def share_told_apart(groups: int, size: int, lead: float, times: int) -> tuple[float, float]:
    """Return how often two runs are told apart at 5 %: row by row, and by group."""
    generator, codes = np.random.default_rng(17), codes_of([size] * groups)
    rows = grouped = 0
    for _ in range(times):
        one, other = (side.ravel() for side in right_rows(groups, size, 0.6, lead, generator))
        plain = compare_paired((one > 0).tolist(), (other > 0).tolist())
        found = by_group({(0, 1): plain}, np.stack([one, other], axis=1), codes)[0, 1]
        assert found.interval[0] <= plain.interval[0]
        rows, grouped = rows + (plain.p_value < 0.05), grouped + (found.p_value < 0.05)
    return rows / times, grouped / times


def test_equal_runs_are_rarely_told_apart_by_group_where_mcnemar_is_fooled() -> None:
    by_rows, by_groups = share_told_apart(12, 40, 0.0, times=200)
    assert by_groups <= MOST_FALSE_POSITIVES
    assert by_rows > 0.15
    assert share_told_apart(20, 20, 0.6, times=30)[1] > 0.8


def test_labels_are_compared_by_group_as_the_rows_of_each_alone() -> None:
    generator, codes = np.random.default_rng(2), codes_of([4] * 11)
    truth, runs = [], [[], []]  # type: ignore[var-annotated]
    for _ in range(len(codes)):
        truth.append([name for name in "ab" if generator.random() < 0.5])
        for run in runs:
            run.append([name for name in "ab" if (name in truth[-1]) == (generator.random() < 0.7)])
    found = compare_labels(
        pl.Series(truth, dtype=pl.List(pl.String)), [pl.Series(run, dtype=pl.List(pl.String)) for run in runs], codes
    )[0, 1]
    for name in "ab":
        right = np.array(
            [[(name in row) == (name in true) for row, true in zip(run, truth, strict=True)] for run in runs],
            dtype=float,
        )
        wanted = compare_losses(right.T, groups=codes)[0, 1]
        assert found[name].p_value == pytest.approx(wanted.p_value)
        assert found[name].difference == pytest.approx(wanted.difference)
        assert wanted.interval is not None
        assert found[name].interval == pytest.approx(wanted.interval, abs=0.15)


def predictions_of(right: Array, codes: Array) -> pl.DataFrame:
    return pl.DataFrame({"row_id": [f"a:{n}" for n in range(len(right))], "outcome": right > 0, "group": codes})


def test_the_interval_of_a_share_covers_it_by_group_and_not_by_rows() -> None:
    problem, generator, codes = (
        load_problem("single_label_classification"),
        np.random.default_rng(8),
        codes_of([30] * 14),
    )
    from scipy.stats import norm

    # Hardness 0.9 with a spread of 1, a run's own of 0.6: the share that is right.
    share = float(norm.cdf(0.9 / np.sqrt(1 + 0.36)))
    held = [0, 0]
    for _ in range(150):
        right = right_rows(14, 30, 1.0, 0.0, generator)[0].ravel()
        frame = predictions_of(right, codes)
        for place, rows in enumerate((frame, frame.drop("group"))):
            found = score_interval(problem, rows, {"label_names": ["a", "b"]})
            assert found is not None
            held[place] += found.low <= share <= found.high
    assert held[0] / 150 >= 0.92
    assert held[1] / 150 < 0.85


def test_the_interval_of_a_share_says_by_how_many_groups_it_is_and_is_none_for_few() -> None:
    problem, targets = load_problem("single_label_classification"), {"label_names": ["a", "b"]}
    right = np.tile([1.0, 1, 1, 0], 20)
    frame = predictions_of(right, codes_of([4] * 20))
    found = score_interval(problem, frame, targets)
    assert found is not None
    assert found.as_dict()["groups"] == 20
    assert "Korn and Graubard" in found.method
    plain = score_interval(problem, frame.drop("group"), targets)
    assert plain is not None
    assert plain.as_dict().keys() == {"low", "high", "method"}
    assert found.low <= plain.low < plain.high <= found.high, "groups that agree by chance make nothing narrower"
    alone = frame.with_columns(pl.Series("group", np.arange(80)))
    assert score_interval(problem, alone, targets) == plain, "groups of one are rows"
    assert score_interval(problem, predictions_of(right, codes_of([10] * 8)), targets) is None
    assert mean_score_interval(problem, [frame, frame], targets).groups == 20  # type: ignore[union-attr]
    all_right = grouped_wilson(np.ones(80), codes_of([4] * 20))
    assert all_right[1] == 1.0
    assert all_right[0] < 0.9, "twenty groups without a fault are no eighty rows without one"


def test_seeds_and_gains_are_judged_by_group() -> None:
    generator, codes = np.random.default_rng(21), codes_of([15] * 16)
    sides = []
    for lead in (0.0, 1.5):
        base = right_rows(16, 15, 0.6, lead, generator)[1].ravel()
        sides.append(np.stack([np.where(generator.random(240) < 0.03, 1 - base, base) for _ in range(3)], axis=1))
    found = compare_seeds(*sides, groups=codes)
    alone = compare_losses(np.stack([side.mean(axis=1) for side in sides], axis=1), groups=codes)[0, 1]
    assert (found.p_rows, found.interval, found.groups) == (alone.p_value, alone.interval, 16)
    gain = judge_gain(*sides, is_right=True, groups=codes)
    assert (gain.verdict, gain.groups, gain.groups_needed) == (Verdict.BETTER, 16, None)
    few = judge_gain(*sides, is_right=True, groups=codes_of([40] * 6))
    assert (few.verdict, few.groups, few.groups_needed, few.interval) == (Verdict.NOT_ENOUGH, 6, 10, None)
    same = judge_gain(sides[0], sides[0][:, ::-1], is_right=True, groups=codes)
    rows = judge_gain(sides[0], sides[0][:, ::-1], is_right=True)
    assert (same.gain, rows.gain) == (0.0, 0.0)


def test_chance_between_trials_is_that_of_groups() -> None:
    generator, codes = np.random.default_rng(4), codes_of([20] * 15)
    groups = np.repeat(generator.normal(0, 1, size=(15, 6)), 20, axis=0)
    table = groups + generator.normal(0, 0.2, size=(300, 6))
    assert row_noise(table, codes) == pytest.approx(np.sqrt(1 / 15), rel=0.25)
    assert row_noise(table) < row_noise(table, codes) / 3
    alone = np.arange(300)
    assert row_noise(table, alone) == pytest.approx(row_noise(table))
    best = int(table.mean(axis=0).argmax())
    assert sum(near_best(table, best, greater_is_better=True, groups=codes)) >= sum(
        near_best(table, best, greater_is_better=True)
    )
