"""Layer normalisation with a frozen scale and shift (Ba et al. 2016), forwards and backwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class NormTape(NamedTuple):
    """Input (T, hidden), its mean (T, 1) and reciprocal standard deviation (T, 1)."""

    rows: Tensor
    mean: Tensor
    reciprocal_deviation: Tensor


@dataclass(frozen=True)
class LayerNorm:
    """A frozen layer norm; only the gradient of its input exists."""

    weight: Tensor
    bias: Tensor
    epsilon: float

    def forward(self, rows: Tensor) -> tuple[Tensor, NormTape]:
        """Normalise rows (T, hidden)."""
        normed, mean, deviation = torch.native_layer_norm(rows, [rows.shape[1]], self.weight, self.bias, self.epsilon)
        return normed, NormTape(rows, mean, deviation)

    def backward(self, gradient: Tensor, tape: NormTape) -> Tensor:
        """Return the gradient of the input rows."""
        result: Tensor = torch.ops.aten.native_layer_norm_backward(
            gradient,
            tape.rows,
            [gradient.shape[1]],
            tape.mean,
            tape.reciprocal_deviation,
            self.weight,
            self.bias,
            [True, False, False],
        )[0]
        return result
