"""How far two models' numbers lie apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Gap:
    """How far numbers lie apart: the largest and the mean difference."""

    largest: float
    mean: float

    @classmethod
    def between(cls, one: NDArray[np.float32], other: NDArray[np.float32]) -> Gap:
        """Return the gap of two arrays of one shape; what is not finite is infinitely far from everything."""
        with np.errstate(invalid="ignore"):
            difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
        difference = np.where(np.isfinite(difference), difference, np.inf)
        return cls(float(difference.max(initial=0.0)), float(difference.mean()) if difference.size else 0.0)

    def as_dict(self) -> dict[str, float]:
        """Return what a receipt says."""
        return {"largest": self.largest, "mean": self.mean}
