"""What an early value says of a final one: a line through pairs of both, and how likely a new one passes a bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Line:
    """The least-squares line through `count` pairs; `noise` is the standard deviation of final values around it.

    `centre` and `spread` are mean and sum of squared deviations of the early values.
    """

    slope: float
    intercept: float
    noise: float
    count: int
    centre: float
    spread: float

    def predict(self, early: float) -> float:
        """Return the final value that is expected of an early one."""
        return self.intercept + self.slope * early

    def chance_above(self, early: float, bound: float) -> float:
        """Return how likely the final value of a new pair lies above a bound, by the t distribution.

        The error of prediction has the noise of one value and that of the line, which grows away from `centre`.
        """
        from scipy.stats import t

        error = self.noise * math.sqrt(1 + 1 / self.count + (early - self.centre) ** 2 / self.spread)
        missing = bound - self.predict(early)
        if error == 0:
            return float(missing < 0)
        return float(t.sf(missing / error, self.count - 2))


@dataclass(frozen=True)
class Comparison:
    """A new pair against the one with the greatest final value (`best`, its place; of equal ones the first).

    `chance` is how likely the new final value is greater; `is_behind`: its early value is less.
    """

    line: Line
    best: int
    chance: float
    is_behind: bool


def compare_with_best(early: Sequence[float], final: Sequence[float], value: float) -> Comparison | None:
    """Compare a pair of which the early value is known; None where early values say nothing of final ones."""
    line = fit_line(early, final)
    if line is None or line.slope <= 0:
        return None
    best = int(np.argmax(final))
    return Comparison(line, best, line.chance_above(value, final[best]), value < early[best])


def fit_line(early: Sequence[float], final: Sequence[float]) -> Line | None:
    """Return the line through pairs; None below three, or where all early values are the same."""
    first, last = np.asarray(early, dtype=np.float64), np.asarray(final, dtype=np.float64)
    if len(first) < 3:
        return None
    centre = float(first.mean())
    spread = float(((first - centre) ** 2).sum())
    if spread == 0:
        return None
    slope = float(((first - centre) * (last - last.mean())).sum()) / spread
    intercept = float(last.mean()) - slope * centre
    noise = math.sqrt(float(((last - intercept - slope * first) ** 2).sum()) / (len(first) - 2))
    return Line(slope, intercept, noise, len(first), centre, spread)
