"""Answers that are better not given: how often a model is wrong among the questions that it is surest about.

Risk-coverage curves and the choice of a confidence with a guaranteed risk are those of Geifman and El-Yaniv (2017,
"Selective Classification for Deep Neural Networks", algorithm 1).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Points of the curve, at equal steps of the share that is answered.
_POINTS = 20
#: How probable it may be that the risk is larger than promised.
_DELTA = 0.05


def trace_risk(confidence: NDArray[Any], is_right: NDArray[np.bool_]) -> list[list[float]]:
    """Return the share of wrong answers (n,) among the surest ones, by the share that is answered: at most 20 points.

    Rows that a model is equally sure of share their errors: which of them come first is chance.
    """
    levels, places, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    wrong = (np.bincount(places, ~is_right, len(levels)) / sizes)[np.sort(places)].cumsum()
    counts = np.unique(np.ceil(len(wrong) * np.arange(1, _POINTS + 1) / _POINTS).astype(np.int64))
    return [[float(count / len(wrong)), float(wrong[count - 1] / count)] for count in counts]


def choose_confidence(
    confidence: NDArray[Any], is_right: NDArray[np.bool_], risk: float, chosen_of: int = 1
) -> dict[str, float]:
    """Return the confidence (n,) from which at most a share `risk` of the answers is wrong, with 95 % certainty.

    `least_confidence`, `coverage` (the share of rows that has it), `wrong` among these and the upper `bound` of that
    share; nothing where no confidence keeps it. The confidence lies midway between two rows, so that none of them is
    withheld or given by how its batch was rounded. Found by halving; the bounds of Clopper and Pearson (1934) share the
    5 % over the places that are tried, the whole among them, and over the `chosen_of` evaluations of these rows by
    which the weights were chosen: the best of several is better on them than on others.
    """
    ordered, count = np.sort(confidence), len(confidence)
    tries = math.ceil(math.log2(count)) + 1 if count > 1 else 1
    found: dict[str, float] = {}
    low, high, place = 0, count - 1, 0
    for _ in range(tries):
        answered = confidence >= ordered[place]
        given, wrong = int(answered.sum()), int((answered & ~is_right).sum())
        bound = _upper_bound(wrong, given, _DELTA / (tries * chosen_of))
        if bound <= risk:
            found = {
                "least_confidence": _cut_below(ordered, place),
                "coverage": given / count,
                "wrong": wrong / given,
                "bound": bound,
            }
            high = place
        else:
            low = place
        if place == high == 0:
            break
        place = -(-(low + high) // 2)
    return found


def _cut_below(ordered: NDArray[Any], place: int) -> float:
    """Return the middle between a confidence and the next lower one; 0 where there is none, so all are answered."""
    low = int(np.searchsorted(ordered, ordered[place]))
    if low == 0:
        return 0.0
    below, own = float(ordered[low - 1]), float(ordered[place])
    middle = (below + own) / 2
    return middle if middle > below else own


def _upper_bound(wrong: int, given: int, chance: float) -> float:
    from scipy.stats import beta  # takes a while to import, and most runs ask nothing of it

    return 1.0 if wrong == given else float(beta.ppf(1.0 - chance, wrong + 1, given - wrong))
