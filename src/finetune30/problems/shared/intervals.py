"""95 % intervals: of a share, and of a mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Half of what a 95 % interval leaves out lies on each side.
_UPPER = 0.975
#: Standard normal quantile of it.
_NORMAL_QUANTILE = 1.959963984540054


def wilson_interval(right: float, rows: float) -> tuple[float, float]:
    """Return the 95 % interval of a share of `right` among `rows` (above 0), both perhaps fractions, after Wilson."""
    share, z2 = right / rows, _NORMAL_QUANTILE**2
    centre = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = _NORMAL_QUANTILE * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows**2)) / (1 + z2 / rows)
    # Rounding may leave the bounds a hair outside; they are exact at the ends.
    return (0.0 if right <= 0 else max(0.0, centre - half)), (1.0 if right >= rows else min(1.0, centre + half))


def mean_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean of values (n,); without ends for fewer than two.

    For differences of paired losses this is the test of Diebold and Mariano (1995) for independent rows.
    """
    from scipy.stats import t

    count = len(values)
    if count < 2:
        return -math.inf, math.inf
    half = float(t.ppf(_UPPER, count - 1)) * float(values.std(ddof=1)) / math.sqrt(count)
    mean = float(values.mean())
    return mean - half, mean + half
