"""How far what serves may lie from what it was made of, and from what its run predicted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Bound:
    """The largest and the mean difference that are allowed: shares of the largest number of the same row, at least 1.

    The mean is what tells another model from rounding: a row may be moved far by chance, all of them may not.
    """

    row: float
    mean: float

    @staticmethod
    def scales(numbers: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return what differences of each row are shares of, float64 (n, 1); `numbers` (n, k)."""
        sizes = np.abs(numbers.astype(np.float64)).max(axis=1, keepdims=True, initial=1.0)
        return np.asarray(sizes, dtype=np.float64)


#: The same path in float32, asked again, alone or among others, differs by the order of sums. Measured: 3e-6 with six
#: layers of 384 numbers; room for deeper models and for other processors.
REPEATED = 1e-4
REPEATED_BOUND = Bound(REPEATED, REPEATED)
#: Of probabilities, by the precision of the evaluation. Measured for bf16: 0.001 with 77 labels.
_PROBABILITIES = {"fp32": Bound(1e-3, 5e-4), "fp16": Bound(0.01, 0.002), "bf16": Bound(0.05, 0.01)}
#: Of a regression's values, and of a language model's loss a token of each row. Measured for bf16 with a language model
#: of 30 layers: rows of one token 0.1 and 0.013, of five 0.01 and 0.003, of forty 0.003 and 0.0015.
_VALUES = {"fp32": Bound(1e-3, 5e-4), "fp16": Bound(0.02, 0.005), "bf16": Bound(0.15, 0.03)}
#: A base that was quantised for the run is quantised alike, but its kernels differ from device to device.
_QUANTISED = Bound(0.15, 0.03)
#: Share of all tokens by which the likeliest ones may differ, those between which the model is undecided. Measured for
#: bf16: 0.005.
_TOKENS_RIGHT = {"fp32": 0.002, "fp16": 0.005, "bf16": 0.02}


def predicted_bound(precision: str, quantization: str | None, *, shares: bool) -> Bound:
    """Return how far numbers may lie from those that a run predicted in a precision; `shares`: they lie in 0 to 1."""
    bound = (_PROBABILITIES if shares else _VALUES)[precision]
    if quantization is None:
        return bound
    coarse = _PROBABILITIES["bf16"] if shares else _QUANTISED
    return Bound(max(bound.row, coarse.row), max(bound.mean, coarse.mean))


def loss_bound(precision: str, quantization: str | None, asked: int) -> float:
    """Return how far the loss of all rows may lie from that of the run, as a share of it above 1; `asked`: its tokens.

    Rounding moves tokens by chance, so it cancels out the more of them there are. Measured for bf16 with 376 tokens:
    0.001.
    """
    mean = predicted_bound(precision, quantization, shares=False).mean
    return max(_VALUES["fp32"].mean, min(mean, mean / 5 + 2 * mean / math.sqrt(max(1, asked))))


def tokens_right_bound(precision: str, quantization: str | None, asked: int) -> float:
    """Return by how many tokens the number of those that were right may differ, of so many."""
    return max(1.0, asked * max(_TOKENS_RIGHT[precision], _TOKENS_RIGHT["bf16"] if quantization else 0.0))
