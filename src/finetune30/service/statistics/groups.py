"""Rows that belong together: numbers of groups, the least number of them that says anything, the interval of a share.

Rows of one author, document or patient are fewer opinions than rows. What is drawn, turned or counted is then a whole
group (`paired_losses`, `score_interval`); of a share of right rows Wilson's interval is that of as many independent
rows as would vary as much (Korn and Graubard 1998, Survey Methodology 24:193-201).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune30.data.groups import join_numbers
from finetune30.problems.shared.intervals import wilson_interval

#: Fewer groups give no verdict: signs of nine have few p-values, and their spread is not known well enough.
FEWEST_GROUPS = 10
_UPPER = 0.975

Codes = NDArray[np.int64]


def number_groups(groups: Sequence[Any] | NDArray[Any] | None) -> Codes | None:
    """Return the groups of rows numbered from 0, (rows,); None where there are none, or each is a single row."""
    if groups is None or not len(groups):
        return None
    found, codes = np.unique(np.asarray(groups), return_inverse=True)
    return None if len(found) == len(codes) else codes.astype(np.int64)


def join_groups(several: Sequence[Codes | None]) -> Codes | None:
    """Return groups in which rows are together that are so in any of `several`, also over steps; None: in none."""
    known = [codes for codes in several if codes is not None]
    if not known:
        return None
    joined = known[0]
    for other in known[1:]:
        joined = join_numbers(joined, other)
    return number_groups(joined)


def count_groups(groups: Codes | None) -> int | None:
    """Return how many groups there are; None where rows are independent."""
    return None if groups is None else int(groups.max()) + 1


def enough_groups(count: int) -> bool:
    """Tell whether so many groups say anything."""
    return count >= FEWEST_GROUPS


def groups_needed(groups: Codes | None) -> int | None:
    """Return how many groups a verdict takes, where there are fewer; else None."""
    count = count_groups(groups)
    return None if count is None or enough_groups(count) else FEWEST_GROUPS


def say_too_few(count: int, needed: int) -> str:
    """Return why there is no verdict, for messages."""
    return f"not enough groups: {count}, at least {needed} are needed"


def sum_groups(values: NDArray[np.float64], groups: Codes) -> NDArray[np.float64]:
    """Return the sums of rows (rows, …) over their groups, (groups, …)."""
    sums = np.zeros((int(groups.max()) + 1, *values.shape[1:]))
    np.add.at(sums, groups, values)
    return sums


def variance_of_mean(values: NDArray[np.float64], groups: Codes) -> float:
    """Return the variance by chance of the mean of values (rows,), where whole groups are drawn (linearised)."""
    count = int(groups.max()) + 1
    if count < 2:
        return math.inf
    influences = sum_groups(values - values.mean(), groups)
    return float((influences**2).sum()) * count / (count - 1) / len(values) ** 2


def grouped_wilson(values: NDArray[np.float64], groups: Codes) -> tuple[float, float]:
    """Return the 95 % interval of the mean of shares of right answers (rows,), each 0 to 1; two groups or more.

    Never narrower than that of independent rows. Where nothing varies, every group counts as one row.
    """
    from scipy.stats import norm, t

    rows, count, share = len(values), int(groups.max()) + 1, float(values.mean())
    variance = variance_of_mean(values, groups)
    alike = share * (1 - share) / variance if variance > 0 else float(count)
    known = (float(norm.ppf(_UPPER)) / float(t.ppf(_UPPER, count - 1))) ** 2  # the spread of few groups is not known
    effective = min(float(rows), alike) * known
    return wilson_interval(share * effective, effective)
