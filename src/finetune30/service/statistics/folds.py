"""Scores of cross-validation: folds train on the same rows, so their scores are not independent.

The corrected resampled t (Nadeau and Bengio 2003, Machine Learning 52:239-281; for repeated folds Bouckaert and Frank
2004, PAKDD, LNCS 3056:3-12): the variance of the mean of J = k r scores is (1 / J + n2 / n1) s^2, where n2 rows are
tested and n1 trained on. The plain t over folds, whose variance is s^2 / J, calls two equal learners different in up to
40 % of comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

METHOD = "corrected resampled t (Nadeau and Bengio 2003)"
_UPPER = 0.975


@dataclass(frozen=True)
class FoldMean:
    """A mean over folds with its 95 % interval, and the p-value of it being 0."""

    mean: float
    low: float
    high: float
    p_value: float


def fold_mean(values: Sequence[float], folds: int) -> FoldMean:
    """Return the mean of values, one a fold and repeat (two or more), each tested on 1 / `folds` of the rows."""
    from scipy.stats import t

    count = len(values)
    mean = fmean(values)
    error = math.sqrt((1 / count + 1 / (folds - 1)) * stdev(values) ** 2)
    half = float(t.ppf(_UPPER, count - 1)) * error
    p_value = 1.0 if mean == 0 else 0.0 if error == 0 else 2 * float(t.sf(abs(mean) / error, count - 1))
    return FoldMean(mean, mean - half, mean + half, p_value)
