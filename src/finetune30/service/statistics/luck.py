"""The best of n configurations on the same rows: how much of its lead is luck, and which ones are not worse than it.

Outcomes are a table of rows and configurations. What is left of it after the means of rows and of configurations are
taken off tells how far the mean of one configuration moves by chance on these rows (two-way analysis of variance); how
far a seed moves the mean of all rows is told by repeats. Of n equal configurations the best then lies E_n such standard
deviations above their mean, E_n being the mean of the largest of n standard normal numbers (1.87 of 20).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from finetune30.service.statistics.groups import Codes, sum_groups, variance_of_mean
from finetune30.service.statistics.mcnemar import CONFIDENCE

_GRID = np.linspace(-9.0, 9.0, 721)
_PARTS = 500  # of the distribution of a standard deviation
_MANY = 1e6  # degrees of freedom at which it is known


def expected_maximum(count: int) -> float:
    """Return the mean of the largest of `count` (from 1) independent standard normal numbers."""
    from scipy.special import ndtr

    weights = count * _density() * ndtr(_GRID) ** (count - 1)
    return float(np.trapezoid(_GRID * weights, _GRID))


def row_noise(outcomes: NDArray[np.float64], groups: Codes | None = None) -> float:
    """Return the standard deviation by chance of the mean of one configuration, of outcomes (rows, configurations).

    Two rows and two configurations, or more. `groups`: the number of each row's group (see `number_groups`).
    """
    rows, count = outcomes.shape
    rest = outcomes - outcomes.mean(axis=1, keepdims=True) - outcomes.mean(axis=0) + outcomes.mean()
    if groups is not None:
        sums = sum_groups(rest, groups)
        return float(np.sqrt((sums**2).sum() * len(sums) / max(1, len(sums) - 1) / (count - 1)) / rows)
    return float(np.sqrt((rest**2).sum() / ((rows - 1) * (count - 1)) / rows))


def seed_noise(repeats: Sequence[NDArray[np.float64]]) -> float:
    """Return the standard deviation by which a seed moves the means of all rows alike.

    Of outcomes (rows, seeds) of one configuration each: the variance of their means, less what chance in single rows
    makes of it. 0 where no configuration has two seeds.
    """
    seen, freedom = _pool(repeats)
    if not freedom:
        return 0.0
    several = [one for one in repeats if one.shape[1] > 1]
    by_rows = sum(float(one.var(axis=1, ddof=1).mean()) / len(one) * (one.shape[1] - 1) for one in several) / freedom
    return float(np.sqrt(max(0.0, seen - by_rows)))


def reach_of_best(counts: Sequence[int]) -> list[float]:
    """Return for each count how far the best of so many equal configurations may lie beyond the first of them.

    In standard deviations of one configuration, which in 95 % of searches is not exceeded: Dunnett's (1955) one-sided
    comparison of count - 1 treatments with a control, of known variance. 0 where there is but one.
    """
    from scipy.special import ndtr

    steps = np.linspace(0.0, 10.0, 1001)
    below = ndtr(_GRID + steps[:, None])
    found = []
    for count in counts:
        within = np.trapezoid(_density() * below ** (count - 1), _GRID, axis=1)
        found.append(float(np.interp(CONFIDENCE, within, steps)) if count > 1 else 0.0)
    return found


def luck_of_best(outcomes: NDArray[np.float64], by_seed: float = 0.0, groups: Codes | None = None) -> float:
    """Return by how much the best of so many equal configurations would lie above their mean on these rows."""
    return expected_maximum(outcomes.shape[1]) * float(np.hypot(row_noise(outcomes, groups), by_seed))


def near_best(
    outcomes: NDArray[np.float64],
    best: int,
    repeats: Sequence[NDArray[np.float64]] = (),
    *,
    greater_is_better: bool,
    groups: Codes | None = None,
) -> list[bool]:
    """Tell of each configuration whether it is not distinguishable from the best one, column `best`.

    Of outcomes (rows, configurations), compared as if any of them might have been the best: where all are equal, one
    is called worse in 5 % of cases. Tukey's studentized range (1949), each pair with the standard error of its rows,
    to which the spread of seeds in `repeats` (as for `seed_noise`) is added; degrees of freedom after Satterthwaite
    (1946). With `groups` (see `number_groups`) rows vary as their groups do, of which so many are known.
    """
    rows, count = outcomes.shape
    if count < 2 or rows < 2:
        return [True] * count
    leads = outcomes[:, [best]] - outcomes
    lead = leads.mean(axis=0) * (1.0 if greater_is_better else -1.0)
    spread, freedom = _pool(repeats)
    if groups is None:
        by_rows, most = leads.var(axis=0, ddof=1) / rows, _MANY
    else:
        by_rows = np.array([variance_of_mean(leads[:, place], groups) for place in range(count)])
        most = float(max(1, groups.max()))
    error = by_rows / 2 + spread  # squared, of one configuration
    reach = np.divide(lead, np.sqrt(error), out=np.zeros(count), where=error > 0)
    effective = np.full(count, most) if spread == 0 else np.minimum(most, freedom * (error / spread) ** 2)
    near = _exceeding_range(np.maximum(reach, 0.0), effective, count) >= 1 - CONFIDENCE
    near[(error == 0) & (lead > 0)] = False
    return [bool(one) for one in near]


def _pool(repeats: Sequence[NDArray[np.float64]]) -> tuple[float, int]:
    """Return the variance of the means of seeds within configurations, and its degrees of freedom."""
    several = [one.mean(axis=0) for one in repeats if one.shape[1] > 1]
    freedom = sum(len(one) - 1 for one in several)
    return sum(float(((one - one.mean()) ** 2).sum()) for one in several) / max(1, freedom), freedom


def _exceeding_range(reach: NDArray[np.float64], freedom: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return the probability that the studentized range of `count` numbers exceeds each reach."""
    from scipy.special import chdtri, ndtr

    widths = np.linspace(0.0, 20.0, 401)
    between = ndtr(_GRID + widths[:, None]) - ndtr(_GRID)
    shares = count * np.trapezoid(_density() * between ** (count - 1), _GRID, axis=1)
    levels = (np.arange(_PARTS) + 0.5) / _PARTS
    scales = np.sqrt(chdtri(freedom[:, None], 1 - levels) / freedom[:, None])
    found: NDArray[np.float64] = 1 - np.interp(reach[:, None] * scales, widths, shares).mean(axis=1)
    return found


def _density() -> NDArray[np.float64]:
    density: NDArray[np.float64] = np.exp(-(_GRID**2) / 2) / np.sqrt(2 * np.pi)
    return density
