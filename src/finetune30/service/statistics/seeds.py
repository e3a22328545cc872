"""Repeats of one configuration under several seeds, all judged on the same rows.

Two questions are asked of a difference between two configurations, and both must be answered by yes: would other rows
show it too (paired permutation test over the rows, each with the mean of its outcomes over the seeds), and would other
seeds (Welch's t, 1947, Biometrika 34:28-35, over the means of the seeds)? A single pair of seeds, compared row by row,
takes the luck of a seed for a difference between configurations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetune30.service.statistics.groups import Codes, count_groups
from finetune30.service.statistics.mcnemar import CONFIDENCE
from finetune30.service.statistics.paired_losses import SIGNS, compare_losses

METHOD = (
    "over rows: paired permutation of the means over seeds (Phipson and Smyth 2010), interval: bootstrap, BCa (Efron "
    "1987); over seeds: Welch (1947); the larger p-value counts"
)

GROUP_METHOD = (
    "over rows, by group: paired permutation of groups (Phipson and Smyth 2010) of the means over seeds, interval: "
    "bootstrap of groups, BCa (Efron 1987); over seeds: Welch (1947); the larger p-value counts"
)


@dataclass(frozen=True)
class SeedComparison:
    """`difference` is the second's mean outcome minus the first's; the interval is over rows, None for one row.

    `p_value` is the larger one of those over rows and over seeds; the latter is None where a side has one seed.
    `groups`: by how many groups p-value and interval over rows are; None: rows are independent.
    """

    rows: int
    difference: float
    interval: tuple[float, float] | None
    p_rows: float
    p_seeds: float | None
    p_value: float
    groups: int | None = None


def compare_seeds(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    *,
    signs: int = SIGNS,
    least_spread: float = 0.0,
    groups: Codes | None = None,
) -> SeedComparison:
    """Compare outcomes of two configurations on the same rows, float64 (rows, seeds) each.

    `signs` and `groups` as in `compare_losses`, `least_spread` as in `welch_interval`. Raises ValueError without rows.
    """
    test = compare_losses(np.stack([first.mean(axis=1), second.mean(axis=1)], axis=1), signs, groups)[0, 1]
    p_seeds = _welch(first.mean(axis=0), second.mean(axis=0), least_spread)
    p_value = test.p_value if p_seeds is None else max(test.p_value, p_seeds)
    return SeedComparison(
        test.rows, test.difference, test.interval, test.p_value, p_seeds, p_value, count_groups(groups)
    )


def welch_interval(
    first: NDArray[np.float64], second: NDArray[np.float64], least_spread: float = 0.0
) -> tuple[float, float] | None:
    """Return Welch's 95 % interval of the second's mean less the first's, of means of seeds; None for one seed.

    `least_spread`: the standard deviation of a side that is taken where its seeds show less.
    """
    from scipy.stats import t

    if len(first) < 2 or len(second) < 2:
        return None
    difference = float(second.mean() - first.mean())
    parts = [_spread(side, least_spread) ** 2 / len(side) for side in (first, second)]
    if sum(parts) == 0:
        return difference, difference
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(side) - 1) for part, side in zip(parts, (first, second), strict=True)
    )
    half = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * float(np.sqrt(sum(parts)))
    return difference - half, difference + half


def discordant_share(right: NDArray[np.float64]) -> float | None:
    """Return the mean share of rows on which two seeds differ, of outcomes 0 or 1 (rows, seeds); None for one seed."""
    seeds = right.shape[1]
    if seeds < 2:
        return None
    share = right.mean(axis=1)
    return float((2 * share * (1 - share)).mean() * seeds / (seeds - 1))


def _spread(side: NDArray[np.float64], least: float) -> float:
    return max(float(side.std(ddof=1)), least)


def _welch(first: NDArray[np.float64], second: NDArray[np.float64], least_spread: float) -> float | None:
    from scipy.stats import ttest_ind_from_stats

    if len(first) < 2 or len(second) < 2:
        return None
    if least_spread == 0 and np.ptp(first) == 0 and np.ptp(second) == 0:  # t is undefined without any spread
        return 1.0 if first[0] == second[0] else 0.0
    sides = (float(v) for side in (first, second) for v in (side.mean(), _spread(side, least_spread), len(side)))
    return float(ttest_ind_from_stats(*sides, equal_var=False).pvalue)
