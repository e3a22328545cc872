"""How far what serves may lie from what it was made of, and from what its run predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune30.modeling.saving import logit_tolerance

#: Of the largest logit above 1: the same path in float32, asked again, alone or among others, differs by the order of
#: sums. Measured: 3e-6 with six layers of 384 numbers; room for deeper models and for other processors.
REPEATED = 1e-4
#: Largest difference of a probability from the one that an evaluation in this precision predicted. Measured for bf16:
#: 0.001 with 77 labels; a wrong tensor or label moves some row by far more than these.
_PROBABILITY = {"fp32": 1e-3, "fp16": 0.01, "bf16": 0.05}
_QUANTISED = 0.05


def repeated_bound(numbers: NDArray[Any]) -> float:
    """Return how far numbers may lie apart that the same path gives again."""
    return REPEATED * max(1.0, float(np.abs(numbers).max(initial=0.0)))


def predicted_bound(numbers: NDArray[Any], precision: str, quantization: str | None, *, shares: bool) -> float:
    """Return how far numbers may lie from those that a run predicted in a precision; `shares`: they lie in 0 to 1."""
    if shares:
        return max(_PROBABILITY[precision], _QUANTISED if quantization else 0.0)
    return logit_tolerance(precision, quantization) * max(1.0, float(np.abs(numbers).max(initial=0.0)))
