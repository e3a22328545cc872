"""What doubts about an evaluation have in common: their codes, and an interval of a difference between paired rows."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

#: Every row gets (nearly) the same answer.
ONE_ANSWER = "one_answer"
#: The score cannot be told from that of an answer that looks at no text.
NOT_ABOVE_BASELINE = "not_above_baseline"
#: Half of what a 95 % interval leaves out lies on each side.
_UPPER = 0.975


def mean_interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Return Student's 95 % interval of the mean of paired differences (n,); without ends for fewer than two rows.

    For differences of losses this is the test of Diebold and Mariano (1995) for independent rows.
    """
    from scipy.stats import t

    count = len(differences)
    if count < 2:
        return -math.inf, math.inf
    half = float(t.ppf(_UPPER, count - 1)) * float(differences.std(ddof=1)) / math.sqrt(count)
    mean = float(differences.mean())
    return mean - half, mean + half
