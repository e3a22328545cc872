"""Whether the best configuration of a search is better than the default: three verdicts, of repeats over seeds.

Two claims are tested, each over rows and over seeds, and both of these have to bear it out:

* better: the gain is not chance (`seeds.compare_seeds`, 5 %). Rows that chose the best of n count against it n times
  (Bonferroni), since of n equal configurations one fits these rows best.
* keep the default: a gain that would be worth a change is ruled out, the upper end of its 95 % interval lies below it.

Where neither is borne out there are not enough rows, seeds, or both; each is told by itself. As many are needed as
would bear one of them out in four of five cases were the gain what was found: (a + b)^2 of the squared standard error
by the distance, a and b the normal quantiles of level and power (as in `sample_size`).

Of rows that are right or wrong nothing is taken as certain because these few show no spread: the interval over rows
reaches at least as far as Agresti and Min's (`mcnemar`), and seeds spread by half a row at least.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from finetune30.service.statistics import seeds
from finetune30.service.statistics.groups import Codes, groups_needed, sum_groups, variance_of_mean
from finetune30.service.statistics.mcnemar import CONFIDENCE, agresti_min_interval
from finetune30.service.statistics.paired_losses import SIGNS

#: A gain that is worth a change of the configuration: a point of right answers, one percent of a loss.
LEAST_GAIN = 0.01
_LEVEL = 1 - CONFIDENCE
_POWER = 0.80
_FINENESS = 10  # the smallest p-value, multiplied by the number tried, is this part of the level


class Verdict(StrEnum):
    """What a search can say about its best configuration."""

    BETTER = "better"
    KEEP_DEFAULT = "keep_default"
    NOT_ENOUGH = "not_enough"


@dataclass(frozen=True)
class Gain:
    """The best against the default. `gain` is above 0 where the best is better; `interval` is its 95 % over rows,
    `over_seeds` that over seeds.

    `p_value` is the larger one of `p_rows`, already multiplied, and `p_seeds`. `rows_needed` and `seeds_needed` (a
    side) are told where they are lacking, both where both are. `groups`: by how many groups what is said over rows is;
    None: rows are independent. `groups_needed`: how many any verdict takes, where there are fewer; nothing else is told
    as lacking then.
    """

    verdict: Verdict
    gain: float
    interval: tuple[float, float] | None
    over_seeds: tuple[float, float]
    p_rows: float
    p_seeds: float | None
    p_value: float
    rows: int
    rows_needed: int | None
    seeds_needed: int | None
    groups: int | None = None
    groups_needed: int | None = None


@dataclass(frozen=True)
class _Claims:
    """What one of the two, rows or seeds, bears out."""

    is_better: bool
    is_kept: bool


def judge_gain(
    default: NDArray[np.float64],
    best: NDArray[np.float64],
    *,
    is_right: bool,
    tried: int = 1,
    least_gain: float = LEAST_GAIN,
    groups: Codes | None = None,
) -> Gain:
    """Judge outcomes of two configurations on the same rows, float64 (rows, seeds) each, two seeds or more a side.

    `is_right`: outcomes are right (1) or wrong (0), else losses, of which less is better. `tried`: of how many
    configurations these rows have chosen the best, or how often they were looked at; 1: they chose nothing.
    `least_gain` in the unit of the outcomes. `groups`: the number of each row's group (see
    `number_groups`). Raises ValueError without rows or with one seed.
    """
    if min(default.shape[1], best.shape[1]) < 2:
        raise ValueError("a side has one seed")
    sign = 1.0 if is_right else -1.0
    before, after = sign * default, sign * best  # so that more is better
    floor = 0.5 / len(before) if is_right else 0.0  # half a row, where seeds agree on all that these few rows can show
    signs = max(SIGNS, math.ceil(_FINENESS * tried / _LEVEL))
    found = seeds.compare_seeds(before, after, signs=signs, least_spread=floor, groups=groups)
    means = before.mean(axis=0), after.mean(axis=0)
    over_seeds = seeds.welch_interval(*means, floor)
    assert over_seeds is not None  # noqa: S101 - there are two seeds or more
    assert found.p_seeds is not None  # noqa: S101
    differences = after.mean(axis=1) - before.mean(axis=1)
    interval = _widen(found.interval, differences) if is_right else found.interval
    p_rows, gain = min(1.0, tried * found.p_rows), found.difference
    highest = math.inf if interval is None else interval[1]
    rows = _Claims(p_rows < _LEVEL and gain > 0, highest < least_gain)
    several = _Claims(found.p_seeds < _LEVEL and gain > 0, over_seeds[1] < least_gain)
    needed: list[int | None] = [None, None]
    too_few = groups_needed(groups)
    if too_few is not None:
        verdict, interval = Verdict.NOT_ENOUGH, None
    elif rows.is_better and several.is_better:
        verdict = Verdict.BETTER
    elif rows.is_kept and several.is_kept:
        verdict = Verdict.KEEP_DEFAULT
    else:
        verdict = Verdict.NOT_ENOUGH
        distance = max(gain, least_gain - gain)
        lacking = [not (one.is_better or one.is_kept) for one in (rows, several)]
        if not any(lacking):  # each says something else
            lacking = [True, True]
        if lacking[0]:
            needed[0] = _rows_needed(differences, distance, tried, groups, is_right=is_right)
        if lacking[1]:
            needed[1] = _seeds_needed(means, distance, floor)
    p_value = max(p_rows, found.p_seeds)
    rows_needed, seeds_needed = needed
    return Gain(
        verdict, gain, interval, over_seeds, p_rows, found.p_seeds, p_value, found.rows, rows_needed, seeds_needed,
        found.groups, too_few,
    )  # fmt: skip


def _widen(interval: tuple[float, float] | None, differences: NDArray[np.float64]) -> tuple[float, float]:
    """Return an interval of the mean that reaches at least as far as Agresti and Min's."""
    low, high = agresti_min_interval(len(differences), float(differences.sum()), float((differences**2).sum()))
    return (low, high) if interval is None else (min(low, interval[0]), max(high, interval[1]))


def _rows_needed(
    differences: NDArray[np.float64], distance: float, tried: int, groups: Codes | None, *, is_right: bool
) -> int | None:
    """Return how many rows would tell the distance, were they like these; None where nothing tells how they vary.

    As many as let the standard error be small enough, of right and wrong rows with the row that Agresti and Min add,
    and of which enough differ that signs can tell it at all: with m of them no p-value is below 2 / 2^m. Rows in groups
    vary as their groups do: so many rows are meant to come in groups as large as these.
    """
    rows = len(differences)
    moved = int(np.count_nonzero(differences if groups is None else sum_groups(differences, groups)))
    if distance <= 0 or (rows < 2 and not is_right):
        return None
    reach = _reach(tried)
    variance = float(differences.var(ddof=1)) if rows > 1 else 0.0
    if groups is not None:
        variance = max(variance, rows * variance_of_mean(differences, groups))
    needed = (reach**2 * variance + math.sqrt(reach**4 * variance**2 + 4 * is_right * (distance * reach) ** 2)) / (
        2 * distance**2
    )
    if moved:
        needed = max(needed, rows * (1 + math.log2(tried / _LEVEL)) / moved)
    return max(rows + 1, math.ceil(needed))


def _seeds_needed(means: tuple[NDArray[np.float64], ...], distance: float, floor: float) -> int | None:
    """Return how many seeds a side would tell the distance, were they like these that have the means."""
    if distance <= 0:
        return None
    count = min(map(len, means))
    squared = sum(max(float(side.std(ddof=1)), floor) ** 2 / len(side) for side in means)
    return max(count + 1, math.ceil(count * squared * (_reach(1) / distance) ** 2))


def _reach(tried: int) -> float:
    """Return the distance, in standard errors, that is told in four of five cases."""
    normal = NormalDist()
    return normal.inv_cdf(1 - _LEVEL / 2 / tried) + normal.inv_cdf(_POWER)
