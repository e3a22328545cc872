"""The end of each half of a layer, forwards and backwards: dropout, residual, a frozen layer norm (Ba et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from finetune30.training.packed.parts.dropout import MaskSource


class ResidualNorm(Protocol):
    """norm(rows + dropout(output)); scale and shift of the norm are frozen, only gradients of what comes in exist."""

    def forward(self, output: Tensor, rows: Tensor, masks: MaskSource | None) -> tuple[Tensor, Any]:
        """Return the norm (T, hidden) of output and rows, both (T, hidden), and a tape; may overwrite the output."""
        ...

    def backward(self, gradient: Tensor, tape: Any) -> tuple[Tensor, Tensor]:
        """Return the gradients of rows and of output; without dropout they are one tensor."""
        ...


class NormTape(NamedTuple):
    """The sum (T, hidden), its mean (T, 1) and reciprocal standard deviation (T, 1), the dropout mask (T, hidden)."""

    rows: Tensor
    mean: Tensor
    reciprocal_deviation: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class PlainResidualNorm:
    """See `ResidualNorm`; with PyTorch's operators."""

    weight: Tensor
    bias: Tensor
    epsilon: float
    dropout: float

    def forward(self, output: Tensor, rows: Tensor, masks: MaskSource | None) -> tuple[Tensor, NormTape]:
        """See `ResidualNorm.forward`."""
        mask = masks.draw(tuple(rows.shape), self.dropout, rows.dtype) if masks is not None else None
        residual = output.add_(rows) if mask is None else torch.addcmul(rows, output, mask)
        normed, mean, deviation = torch.native_layer_norm(
            residual, [rows.shape[1]], self.weight, self.bias, self.epsilon
        )
        return normed, NormTape(residual, mean, deviation, mask)

    def backward(self, gradient: Tensor, tape: NormTape) -> tuple[Tensor, Tensor]:
        """See `ResidualNorm.backward`."""
        residual: Tensor = torch.ops.aten.native_layer_norm_backward(
            gradient,
            tape.rows,
            [gradient.shape[1]],
            tape.mean,
            tape.reciprocal_deviation,
            self.weight,
            self.bias,
            [True, False, False],
        )[0]
        return residual, residual if tape.mask is None else residual * tape.mask
