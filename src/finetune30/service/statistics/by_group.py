"""Right and wrong answers of two models compared group by group, in the place of McNemar's test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from finetune30.service.statistics.groups import Codes
from finetune30.service.statistics.mcnemar import PairedTest
from finetune30.service.statistics.paired_losses import ENUMERATED_ROWS, SIGNS, compare_losses

_SEED = 20100101
_UPPER = 0.975
_TESTS = 64  # whose signs are turned at a time
_ROUNDING = 1e-9

Pairs = Mapping[tuple[int, int], PairedTest]


def by_group(tests: Pairs, right: NDArray[np.float64], groups: Codes) -> dict[tuple[int, int], PairedTest]:
    """Return the tests of pairs of runs with p-values and intervals by group, of right rows 0 or 1, (rows, runs).

    An interval reaches at least as far as that of independent rows: groups may agree by chance.
    """
    found = compare_losses(right, groups=groups)
    return {
        pair: replace(test, p_value=found[pair].p_value, interval=widen(found[pair].interval, test.interval))
        for pair, test in tests.items()
    }


def compare_sums(tests: Sequence[PairedTest], sums: NDArray[np.float64], sizes: NDArray[np.int64]) -> list[PairedTest]:
    """Return many tests with p-values and intervals by group, of differences summed over groups, (groups, tests).

    `sizes`: rows of each group. The interval is Student's of the mean with the spread of groups (linearised), which
    costs nothing where there are thousands of labels; it reaches at least as far as that of independent rows.
    """
    from scipy.stats import t

    count, rows = len(sums), int(sizes.sum())
    means = sums.sum(axis=0) / rows
    spread = ((sums - sizes[:, None] * means) ** 2).sum(axis=0)
    reach = float(t.ppf(_UPPER, count - 1)) * np.sqrt(spread * count / (count - 1)) / rows if count > 1 else 0 * means
    ends = zip((means - reach).tolist(), (means + reach).tolist(), strict=True)
    return [
        replace(test, p_value=p_value, interval=widen((max(-1.0, low), min(1.0, high)), test.interval))
        for test, p_value, (low, high) in zip(tests, _turn_signs(sums), ends, strict=True)
    ]


def _turn_signs(sums: NDArray[np.float64]) -> list[float]:
    """Return the two-sided p-values of sums over groups, (groups, tests), as `compare_losses` has them."""
    count, tests = sums.shape
    is_whole = count <= ENUMERATED_ROWS
    if is_whole:
        signs = 1.0 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        signs = np.random.default_rng(_SEED).choice((-1.0, 1.0), size=(SIGNS, count))
    found: list[float] = []
    for start in range(0, tests, _TESTS):
        part = sums[:, start : start + _TESTS]
        extreme = np.count_nonzero(np.abs(signs @ part) >= np.abs(part.sum(axis=0)) - _ROUNDING, axis=0)
        found += ((extreme + (not is_whole)) / (len(signs) + (not is_whole))).tolist()
    return found


def widen(interval: tuple[float, float] | None, other: tuple[float, float]) -> tuple[float, float]:
    """Return an interval that reaches at least as far as the other one."""
    return other if interval is None else (min(interval[0], other[0]), max(interval[1], other[1]))
