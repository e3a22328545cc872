"""Curves made calm: exponential moving averages, and whether a loss falls at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

#: What the steps of the slider keep of the average before, from none to nearly all.
WEIGHTS = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
#: Step of the slider at first.
FIRST = 4
#: Fewer values say nothing about a trend.
_FEWEST = 16
#: A difference of so many standard errors is no accident; a smaller share of the loss is no progress.
_ERRORS, _SHARE = 2.0, 0.05

Trend = Literal["flat", "rising"]


def smooth(values: Sequence[float], weight: float) -> list[float]:
    """Return the exponential moving average, corrected for its beginning (Kingma and Ba 2015, section 3)."""
    average, known, smoothed = 0.0, 0.0, []
    for value in values:
        average = weight * average + (1 - weight) * value
        known = weight * known + (1 - weight)
        smoothed.append(average / known)
    return smoothed


def find_trend(losses: Sequence[float], evaluated: Sequence[float] = ()) -> Trend | None:
    """Say what is wrong with a training loss: it rises, or it does not fall; None where neither can be said for sure.

    The first quarter is compared with the last one. `evaluated` are the evaluation losses so far: where the last is
    clearly below the first, something is learnt, however the training loss looks.
    """
    quarter = len(losses) // 4
    if len(losses) < _FEWEST or not all(map(math.isfinite, losses)):
        return None
    first, last = losses[:quarter], losses[-quarter:]
    before = sum(first) / quarter
    fall = before - sum(last) / quarter
    noise = _ERRORS * math.sqrt((_variance(first) + _variance(last)) / quarter)
    least = _SHARE * abs(before)
    if -fall - noise > least:
        return "rising"
    if len(evaluated) > 1 and evaluated[0] - evaluated[-1] > _SHARE * abs(evaluated[0]):
        return None
    return "flat" if abs(fall) + noise < least else None


def _variance(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1)
