"""Whether two classifiers that answered the same rows differ by more than chance.

McNemar's test in its exact form (McNemar 1947, Psychometrika 12:153-157; the two-sided binomial test of the discordant
rows), the interval of the difference after Agresti and Min (2005, Statistics in Medicine 24:729-740: half a row
added to each cell), several pairs adjusted after Holm (1979, Scandinavian Journal of Statistics 6:65-70).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
_Z = 1.959963984540054  # quantile of the normal distribution for 95 %


@dataclass(frozen=True)
class PairedTest:
    """`difference` is the second's accuracy minus the first's, 0-1; `interval` its 95 % interval."""

    rows: int
    only_first_right: int
    only_second_right: int
    difference: float
    interval: tuple[float, float]
    p_value: float


def compare_paired(first_right: Sequence[bool], second_right: Sequence[bool]) -> PairedTest:
    """Compare two answers to the same rows, given row by row whether each was right. Raises ValueError without rows."""
    only_first = sum(a and not b for a, b in zip(first_right, second_right, strict=True))
    only_second = sum(b and not a for a, b in zip(first_right, second_right, strict=True))
    return compare_discordant(len(first_right), only_first, only_second)


def compare_discordant(rows: int, only_first: int, only_second: int) -> PairedTest:
    """Compare two answers to `rows` rows by how many only one of them has right. Raises ValueError without rows."""
    if rows == 0:
        raise ValueError("no rows to compare")
    return PairedTest(
        rows,
        only_first,
        only_second,
        (only_second - only_first) / rows,
        agresti_min_interval(rows, only_second - only_first, only_first + only_second),
        exact_p_value(only_first, only_second),
    )


def exact_p_value(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test: 1 when no row is discordant."""
    total, fewer = only_first + only_second, min(only_first, only_second)
    logs = (
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) - total * math.log(2)
        for k in range(fewer + 1)
    )
    return min(1.0, 2 * math.fsum(math.exp(log) for log in logs))


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for having been looked at together, in the order given."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def agresti_min_interval(rows: int, total: float, squares: float) -> tuple[float, float]:
    """Return the 95 % interval of the mean of differences between shares of right answers, each from -1 to 1.

    Of their sum and the sum of their squares; half a row is added to each cell, so that it has a width where all rows
    are alike.
    """
    middle, added = total / (rows + 2.0), rows + 2.0
    reach = _Z * math.sqrt(squares + 1.0 - total**2 / added) / added
    return max(-1.0, middle - reach), min(1.0, middle + reach)
