"""Dropout, residual and layer norm in one pass; see `native.memory`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from finetune30.training.packed.native.library import Kernels
from finetune30.training.packed.native.memory import address, draw_bytes, sum_type
from finetune30.training.packed.parts.dropout import MaskSource


class NativeNormTape(NamedTuple):
    """The sum (T, hidden), its means and reciprocal standard deviations (2, T), the dropout mask (T, hidden)."""

    residual: Tensor
    statistics: Tensor
    mask: Tensor | None


class NativeResidualNorm:
    """See `ResidualNorm`."""

    def __init__(self, kernels: Kernels, weight: Tensor, bias: Tensor, epsilon: float, dropout: float) -> None:
        self._kernels, self._weight, self._bias, self._epsilon = kernels, weight, bias, epsilon
        self._dropout, self._kept = dropout, 1.0 / (1.0 - dropout)
        # Looked up once, not at every step.
        self._addresses = weight.data_ptr(), bias.data_ptr()

    def forward(self, output: Tensor, rows: Tensor, masks: MaskSource | None) -> tuple[Tensor, NativeNormTape]:
        """See `ResidualNorm.forward`."""
        tokens, width = rows.shape
        mask = draw_bytes(masks, (tokens, width), self._dropout)
        normed = torch.empty_like(rows)
        statistics = torch.empty(2, tokens, dtype=sum_type(rows.dtype))
        means = statistics.data_ptr()
        self._kernels.forward_norm(
            output.data_ptr(),
            rows.data_ptr(),
            address(mask),
            self._kept,
            *self._addresses,
            self._epsilon,
            normed.data_ptr(),
            means,
            means + tokens * statistics.itemsize,
            tokens,
            width,
        )
        return normed, NativeNormTape(output, statistics, mask)

    def backward(self, gradient: Tensor, tape: NativeNormTape) -> tuple[Tensor, Tensor]:
        """See `ResidualNorm.backward`."""
        tokens, width = gradient.shape
        means = tape.statistics.data_ptr()
        below = torch.empty_like(gradient)
        masked = below if tape.mask is None else torch.empty_like(gradient)
        self._kernels.backward_norm(
            gradient.data_ptr(),
            tape.residual.data_ptr(),
            address(tape.mask),
            self._kept,
            self._addresses[0],
            means,
            means + tokens * tape.statistics.itemsize,
            below.data_ptr(),
            masked.data_ptr(),
            tokens,
            width,
        )
        return below, masked
