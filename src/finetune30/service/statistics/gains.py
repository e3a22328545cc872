"""Whether the best configuration of a search is better than the default: three verdicts, of repeats over seeds.

Two claims are tested, each over rows and over seeds, and both of these have to bear it out:

* better: the gain is not chance (`seeds.compare_seeds`, 5 %). Rows that chose the best of n count against it n times
  (Bonferroni), since of n equal configurations one fits these rows best.
* keep the default: a gain that would be worth a change is ruled out, the upper end of its 95 % interval lies below it.

Where neither is borne out there are not enough rows, or seeds. As many are needed as would bear one of them out in four
of five cases were the gain what was found: (a + b)^2 of the squared standard error by the distance, a and b the normal
quantiles of level and power (as in `sample_size`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from finetune30.service.statistics import seeds
from finetune30.service.statistics.mcnemar import CONFIDENCE

#: A gain that is worth a change of the configuration: a point of right answers, one percent of a loss.
LEAST_GAIN = 0.01
_POWER = 0.80


class Verdict(StrEnum):
    """What a search can say about its best configuration."""

    BETTER = "better"
    KEEP_DEFAULT = "keep_default"
    NOT_ENOUGH = "not_enough"


@dataclass(frozen=True)
class Gain:
    """The best against the default. `gain` is above 0 where the best is better; `interval` is its 95 % over rows.

    `p_value` is the larger one of `p_rows`, already multiplied, and `p_seeds`. `rows_needed` and `seeds_needed` (a
    side) are told where they are what is lacking.
    """

    verdict: Verdict
    gain: float
    interval: tuple[float, float] | None
    p_rows: float
    p_seeds: float | None
    p_value: float
    rows: int
    rows_needed: int | None
    seeds_needed: int | None


@dataclass(frozen=True)
class _Claims:
    """What one of the two, rows or seeds, bears out."""

    is_better: bool
    is_kept: bool


def judge_gain(
    default: NDArray[np.float64],
    best: NDArray[np.float64],
    *,
    greater_is_better: bool,
    tried: int = 1,
    least_gain: float = LEAST_GAIN,
) -> Gain:
    """Judge outcomes of two configurations on the same rows, float64 (rows, seeds) each, two seeds or more a side.

    `tried`: of how many configurations these rows have chosen the best, 1: of none. `least_gain` in the unit of the
    outcomes. Raises ValueError without rows or with one seed.
    """
    if min(default.shape[1], best.shape[1]) < 2:
        raise ValueError("a side has one seed")
    sign = 1.0 if greater_is_better else -1.0
    before, after = sign * default, sign * best  # so that more is better
    found = seeds.compare_seeds(before, after)
    means = before.mean(axis=0), after.mean(axis=0)
    over_seeds = seeds.welch_interval(*means)
    assert over_seeds is not None  # noqa: S101 - there are two seeds or more
    assert found.p_seeds is not None  # noqa: S101
    p_rows, gain = min(1.0, tried * found.p_rows), found.difference
    level = 1 - CONFIDENCE
    highest = math.inf if found.interval is None else found.interval[1]
    rows = _Claims(p_rows < level and gain > 0, highest < least_gain)
    several = _Claims(found.p_seeds < level and gain > 0, over_seeds[1] < least_gain)
    needed: list[int | None] = [None, None]
    if rows.is_better and several.is_better:
        verdict = Verdict.BETTER
    elif rows.is_kept and several.is_kept:
        verdict = Verdict.KEEP_DEFAULT
    else:
        verdict = Verdict.NOT_ENOUGH
        distance = max(gain, least_gain - gain)
        differences = after.mean(axis=1) - before.mean(axis=1)
        if not (rows.is_better or rows.is_kept) and found.rows > 1:
            error = float(differences.std(ddof=1)) / math.sqrt(found.rows)
            needed[0] = _needed(found.rows, error, distance, tried)
        if needed[0] is None:
            error = math.sqrt(sum(float(side.var(ddof=1)) / len(side) for side in means))
            needed[1] = _needed(min(map(len, means)), error, distance, 1)
    return Gain(verdict, gain, found.interval, p_rows, found.p_seeds, max(p_rows, found.p_seeds), found.rows, *needed)


def _needed(count: int, error: float, distance: float, tried: int) -> int:
    """Return how many there have to be, more than the `count` whose mean has the standard error."""
    normal = NormalDist()
    reach = normal.inv_cdf(1 - (1 - CONFIDENCE) / 2 / tried) + normal.inv_cdf(_POWER)
    return max(count + 1, math.ceil(count * (reach * error / distance) ** 2))
