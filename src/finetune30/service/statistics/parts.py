"""Whether a part of the rows differs from the rest of them; many parts are looked at together by Holm's method."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Probabilities that are as small but for rounding count as no more likely than what was found.
_ROUNDING = 1e-7


def fisher_p_value(right: int, rows: int, other_right: int, other_rows: int) -> float:
    """Return the two-sided p-value of Fisher's exact test of two shares of right rows: 1 where a side has no rows."""
    from scipy.special import gammaln

    all_right, total = right + other_right, rows + other_rows
    counts = np.arange(max(0, all_right - other_rows), min(rows, all_right) + 1)

    def choose(pool: int, taken: NDArray[np.int64]) -> NDArray[np.float64]:
        logs: NDArray[np.float64] = gammaln(pool + 1) - gammaln(taken + 1) - gammaln(pool - taken + 1)
        return logs

    logs = choose(rows, counts) + choose(other_rows, all_right - counts)
    chances = np.exp(logs - np.logaddexp.reduce(logs))
    found = chances[right - counts[0]]
    return min(1.0, float(chances[chances <= found * (1 + _ROUNDING)].sum())) if total else 1.0


def welch_p_value(losses: NDArray[np.float64], others: NDArray[np.float64]) -> float | None:
    """Return the two-sided p-value of Welch's t-test of two means.

    None below two rows a side, without any spread, and where a loss is no finite number.
    """
    from scipy.special import stdtr

    if min(len(losses), len(others)) < 2 or not all(np.isfinite(side).all() for side in (losses, others)):
        return None
    first, second = (float(side.var(ddof=1)) / len(side) for side in (losses, others))
    if first + second == 0.0:
        return None
    freedom = (first + second) ** 2 / (first**2 / (len(losses) - 1) + second**2 / (len(others) - 1))
    reach = abs(float(losses.mean() - others.mean())) / (first + second) ** 0.5
    return float(2 * stdtr(freedom, -reach))
