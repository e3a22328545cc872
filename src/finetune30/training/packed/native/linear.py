"""Products with frozen weights that the kernels have laid out.

Rows are counted by `shape[0]` here and in the other native parts: at some thirty times a step `len` of a tensor, which
is written in Python, shows in the time of a small model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from finetune30.training.packed.native.library import Kernels


class NativeLinear:
    """See `FrozenLinear`; one copy of the weight for each direction. The kernels must have products for its type.

    A row's result does not depend on the rows beside it.
    """

    def __init__(self, kernels: Kernels, weight: Tensor, bias: Tensor, *, needs_input_gradient: bool) -> None:
        self._kernels, self._bias = kernels, bias
        self._forward = _lay_out(kernels, weight)
        self._backward = _lay_out(kernels, weight.t()) if needs_input_gradient else None
        self._outputs, self._inputs = weight.shape
        # Looked up once, not at every step. Without a backward weight nobody asks for input gradients.
        self._forward_address, self._bias_address = self._forward.data_ptr(), bias.data_ptr()
        self._backward_address = 0 if self._backward is None else self._backward.data_ptr()

    def forward(self, rows: Tensor) -> Tensor:
        """See `FrozenLinear.forward`."""
        result = rows.new_empty(rows.shape[0], self._outputs)
        self._multiply(result, rows, self._forward_address, self._bias_address, 0, None)
        return result

    def input_gradient(self, gradient: Tensor, *, onto: Tensor | None = None, factor: Tensor | None = None) -> Tensor:
        """See `FrozenLinear.input_gradient`."""
        result = gradient.new_empty(gradient.shape[0], self._inputs) if onto is None else onto
        assert self._backward_address  # noqa: S101 - asked for at construction
        start = None if onto is None else onto.data_ptr()
        self._multiply(result, gradient, self._backward_address, start, self._inputs, factor)
        return result

    def weight_rows(self, chosen: Tensor) -> Tensor:
        """Return rows (N, in) of the weight (out, in), chosen by int64 numbers (N,), from the backward copy."""
        assert self._backward is not None  # noqa: S101 - asked for at construction
        result = self._backward.new_empty(chosen.shape[0], self._inputs)
        self._kernels.take_out(
            result.data_ptr(), self._backward_address, chosen.data_ptr(), *result.shape, self._outputs
        )
        return result

    def _multiply(
        self, result: Tensor, rows: Tensor, laid_out: int, start: int | None, stride: int, factor: Tensor | None
    ) -> None:
        count, width = rows.shape
        self._kernels.multiply(
            result.data_ptr(),
            rows.data_ptr(),
            laid_out,
            start,
            stride,
            None if factor is None else factor.data_ptr(),
            count,
            width,
            result.shape[1],
        )


def _lay_out(kernels: Kernels, weight: Tensor) -> Tensor:
    result = torch.empty(weight.numel(), dtype=weight.dtype)
    kernels.lay_out(result.data_ptr(), weight.data_ptr(), *weight.stride(), *weight.shape)
    return result
