"""Whether the losses of runs on the same rows differ by more than chance, pair by pair.

The paired permutation test: were both runs alike, each row's difference could as well have had the other sign. Few
rows are enumerated; of more, signs are drawn, and the p-value counts what was seen itself, so that it is never 0
(Phipson and Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9:39). The interval of the mean
difference is the bias-corrected and accelerated bootstrap (Efron 1987, JASA 82:171-185; Efron and Tibshirani 1993,
An Introduction to the Bootstrap, chapter 14). Both draw with a fixed seed: the same files give the same answer.

Where rows belong together, what is turned and drawn is a whole group: the sum of its rows, and a mean is that over all
rows of the groups drawn (cluster bootstrap; Davison and Hinkley 1997, Bootstrap Methods and their Application, 3.8).

scipy.stats has both and agrees (see the tests), but at 100,000 rows its signs take more than a minute, and time and
memory of its jackknife grow with the square of the rows. Here all pairs share their draws: some seconds for any number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from finetune30.service.statistics.groups import Codes, sum_groups
from finetune30.service.statistics.mcnemar import CONFIDENCE

#: Rows or groups that differ, up to which all 2^rows signs are tried.
ENUMERATED_ROWS = 12
SIGNS = 9999
#: Resamples of the bootstrap: fewer for many rows, where the interval hardly depends on them.
MOST_RESAMPLES, FEWEST_RESAMPLES, RESAMPLED_ROWS = 9999, 999, 100_000_000

_SEED = 20100101
_CELLS = 500_000  # signs or drawn rows held at a time: what stays near the processor
_ROUNDING = 1e-12  # of the sum of all differences: what adding up in another order changes


@dataclass(frozen=True)
class PairedLosses:
    """`difference` is the second's mean loss minus the first's, `interval` its 95 % interval.

    None for one row, or one group.
    """

    rows: int
    difference: float
    interval: tuple[float, float] | None
    p_value: float


def compare_losses(
    losses: NDArray[np.float64], signs: int = SIGNS, groups: Codes | None = None
) -> dict[tuple[int, int], PairedLosses]:
    """Compare every pair of columns of finite losses, float64 (rows, runs). Raises ValueError without rows.

    `groups`: the number of each row's group (see `number_groups`); None: rows are independent. No p-value is below 1 /
    (`signs` + 1), so whoever multiplies it takes more.
    """
    rows, runs = losses.shape
    if rows == 0:
        raise ValueError("no rows to compare")
    draws = _Draws(losses, signs, groups)
    return {(first, second): _compare(losses, draws, first, second) for first, second in combinations(range(runs), 2)}


class _Draws:
    """What is drawn once for all pairs: signs of rows or groups, and those of resamples, each as sums over runs.

    Sums are linear, so those of a pair's differences are the differences of the sums; what the runs of a row have in
    common is taken off before, as it is in no difference.
    """

    def __init__(self, losses: NDArray[np.float64], signs: int, groups: Codes | None) -> None:
        self._signs, self._groups = signs, groups
        centred = losses - losses.mean(axis=1, keepdims=True)
        self._losses = centred if groups is None else sum_groups(centred, groups)
        self._rows = len(self._losses)
        self.sizes = np.ones(self._rows) if groups is None else np.bincount(groups).astype(np.float64)

    def sums_of(self, differences: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the differences of rows as sums over what is turned and drawn."""
        return differences if self._groups is None else sum_groups(differences, self._groups)

    @cached_property
    def turned_sums(self) -> NDArray[np.float64]:
        """(signs, runs): the sum of the losses whose sign is turned."""
        chosen = np.random.default_rng(_SEED)
        parts = []
        for some in _portions(self._signs, self._rows):
            drawn = chosen.integers(0, 256, size=(some, -(-self._rows // 8)), dtype=np.uint8)
            parts.append(np.unpackbits(drawn, axis=1, count=self._rows).astype(np.float64) @ self._losses)
        return np.concatenate(parts)

    @cached_property
    def resampled_means(self) -> NDArray[np.float64]:
        """(resamples, runs): mean losses of as many rows or groups as there are, drawn with replacement."""
        rows, chosen = self._rows, np.random.default_rng(_SEED)
        resamples = min(MOST_RESAMPLES, max(FEWEST_RESAMPLES, RESAMPLED_ROWS // rows))
        parts = []
        for some in _portions(resamples, rows):
            drawn = chosen.integers(0, rows, size=(some, rows)) + np.arange(some)[:, None] * rows
            times = np.bincount(drawn.ravel(), minlength=some * rows).reshape(some, rows)
            drawn_rows = times @ self.sizes
            parts.append(times.astype(np.float64) @ self._losses / drawn_rows[:, None])
        return np.concatenate(parts)


def _compare(losses: NDArray[np.float64], draws: _Draws, first: int, second: int) -> PairedLosses:
    differences = losses[:, second] - losses[:, first]
    sums = draws.sums_of(differences)
    return PairedLosses(
        rows=len(differences),
        difference=float(differences.mean()),
        interval=_bootstrap_interval(sums, draws, first, second) if len(sums) > 1 else None,
        p_value=_permutation_p_value(sums, draws, first, second),
    )


def _permutation_p_value(differences: NDArray[np.float64], draws: _Draws, first: int, second: int) -> float:
    """Return the two-sided p-value: the share of signs whose sum is as far from 0 as the one seen."""
    total = differences.sum()
    least = abs(total) - _ROUNDING * np.abs(differences).sum()
    moved = differences[differences != 0]  # a sign changes nothing about the others
    if moved.size <= ENUMERATED_ROWS:
        turned = (np.arange(2**moved.size)[:, None] >> np.arange(moved.size)) & 1
        return float(np.mean(np.abs(total - 2 * (turned @ moved)) >= least))
    sums = total - 2 * (draws.turned_sums[:, second] - draws.turned_sums[:, first])
    return (int(np.count_nonzero(np.abs(sums) >= least)) + 1) / (len(sums) + 1)


def _bootstrap_interval(
    differences: NDArray[np.float64], draws: _Draws, first: int, second: int
) -> tuple[float, float]:
    """Return the interval of the mean, of what each row or group adds to the sum (`differences`)."""
    mean = float(differences.sum() / draws.sizes.sum())
    centred = differences - draws.sizes * mean
    spread = float((centred**2).sum())
    if spread <= (_ROUNDING * float(np.abs(differences).sum())) ** 2:
        return mean, mean  # every resample is alike
    means = draws.resampled_means[:, second] - draws.resampled_means[:, first]
    normal = NormalDist()
    below = (np.count_nonzero(means < mean) + np.count_nonzero(means <= mean)) / 2 / means.size
    bias = normal.inv_cdf(min(max(below, 1 / means.size), 1 - 1 / means.size))
    acceleration = float((centred**3).sum()) / (6 * spread**1.5)
    levels = []
    for level in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2):
        reach = bias + normal.inv_cdf(level)
        levels.append(normal.cdf(bias + reach / (1 - acceleration * reach)))
    low, high = np.quantile(means, levels).tolist()
    return low, high


def _portions(total: int, rows: int) -> Iterator[int]:
    most = max(1, _CELLS // rows)
    for done in range(0, total, most):
        yield min(most, total - done)
