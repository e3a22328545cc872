"""Whether the losses of two runs on the same rows differ by more than chance.

The paired permutation test: were both runs alike, each row's difference could as well have had the other sign. Few
rows are enumerated; of more, signs are drawn, and the p-value counts what was seen itself, so that it is never 0
(Phipson and Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9:39). The interval of the mean
difference is the bias-corrected and accelerated bootstrap (Efron 1987, JASA 82:171-185; Efron and Tibshirani 1993,
An Introduction to the Bootstrap, chapter 14). Both draw with a fixed seed: the same files give the same answer.

scipy.stats has both and agrees (see the tests), but at 100,000 rows its signs take more than a minute, and time and
memory of its jackknife grow with the square of the rows; this takes two seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from finetune30.service.runs.mcnemar import CONFIDENCE

#: Rows that differ, up to which all 2^rows signs are tried.
ENUMERATED_ROWS = 12
SIGNS = 9999
#: Resamples of the bootstrap: fewer for many rows, where the interval hardly depends on them.
MOST_RESAMPLES, FEWEST_RESAMPLES, RESAMPLED_ROWS = 9999, 999, 100_000_000

_SEED = 20100101
_CELLS = 4_000_000  # signs or drawn rows held at a time
_ROUNDING = 1e-12  # of the sum of all differences: what adding up in another order changes


@dataclass(frozen=True)
class PairedLosses:
    """`difference` is the second's mean loss minus the first's, `interval` its 95 % interval (None for one row).

    `signs` says how many were drawn, None where all were tried.
    """

    rows: int
    first_mean: float
    second_mean: float
    difference: float
    interval: tuple[float, float] | None
    p_value: float
    signs: int | None


def compare_losses(first: NDArray[np.float64], second: NDArray[np.float64]) -> PairedLosses:
    """Compare two runs by their finite losses, float64 (rows,) each. Raises ValueError without rows."""
    if first.size == 0 or first.shape != second.shape:
        raise ValueError(f"no rows to compare: {first.size} and {second.size}")
    differences = second - first
    p_value, signs = permutation_p_value(differences)
    return PairedLosses(
        rows=first.size,
        first_mean=float(first.mean()),
        second_mean=float(second.mean()),
        difference=float(differences.mean()),
        interval=bootstrap_interval(differences) if first.size > 1 else None,
        p_value=p_value,
        signs=signs,
    )


def permutation_p_value(differences: NDArray[np.float64]) -> tuple[float, int | None]:
    """Return the two-sided p-value of float64 (rows,) differences, and how many signs were drawn (None: all tried)."""
    moved = differences[differences != 0]  # a sign changes nothing about the others
    if moved.size <= ENUMERATED_ROWS:
        places = np.arange(2**moved.size)[:, None] >> np.arange(moved.size)
        return _count_extreme(moved, places & 1) / 2**moved.size, None
    extreme = sum(_count_extreme(moved, chosen) for chosen in _draw_signs(moved.size))
    return (extreme + 1) / (SIGNS + 1), SIGNS


def bootstrap_interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of float64 (rows,) differences."""
    mean = float(differences.mean())
    centred = differences - mean
    spread = float((centred**2).sum())
    if spread <= (_ROUNDING * float(np.abs(differences).sum())) ** 2:
        return mean, mean  # every resample is alike
    means = np.sort(_resample_means(centred))
    normal = NormalDist()
    below = (np.count_nonzero(means < 0) + np.count_nonzero(means <= 0)) / 2 / means.size
    bias = normal.inv_cdf(min(max(below, 1 / means.size), 1 - 1 / means.size))
    acceleration = float((centred**3).sum()) / (6 * spread**1.5)
    ends = []
    for level in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2):
        reach = bias + normal.inv_cdf(level)
        ends.append(mean + float(np.quantile(means, normal.cdf(bias + reach / (1 - acceleration * reach)))))
    return ends[0], ends[1]


def _count_extreme(differences: NDArray[np.float64], turned: NDArray[np.integer]) -> int:
    """Count the rows of (signs, rows) `turned` (1: the other sign) whose sum is as far from 0 as the one seen."""
    total = differences.sum()
    sums = total - 2 * (turned.astype(np.float64) @ differences)
    least = abs(total) - _ROUNDING * np.abs(differences).sum()
    return int(np.count_nonzero(np.abs(sums) >= least))


def _draw_signs(rows: int) -> Iterator[NDArray[np.uint8]]:
    """Yield SIGNS rows of random bits, uint8 (some, rows) at a time."""
    chosen = np.random.default_rng(_SEED)
    for some in _portions(SIGNS, rows):
        drawn = chosen.integers(0, 256, size=(some, -(-rows // 8)), dtype=np.uint8)
        yield np.unpackbits(drawn, axis=1, count=rows)


def _resample_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, chosen = values.size, np.random.default_rng(_SEED)
    resamples = min(MOST_RESAMPLES, max(FEWEST_RESAMPLES, RESAMPLED_ROWS // rows))
    return np.concatenate(
        [
            values[chosen.integers(0, rows, size=(some, rows), dtype=np.uint32)].mean(axis=1)
            for some in _portions(resamples, rows)
        ]
    )


def _portions(total: int, rows: int) -> Iterator[int]:
    most = max(1, _CELLS // rows)
    for done in range(0, total, most):
        yield min(most, total - done)
