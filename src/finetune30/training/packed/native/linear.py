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

    def forward(self, rows: Tensor) -> Tensor:
        """See `FrozenLinear.forward`."""
        result = rows.new_empty(rows.shape[0], self._outputs)
        self._multiply(result, rows, self._forward, start=self._bias, stride=0)
        return result

    def input_gradient(self, gradient: Tensor, *, onto: Tensor | None = None, factor: Tensor | None = None) -> Tensor:
        """See `FrozenLinear.input_gradient`."""
        assert self._backward is not None  # noqa: S101 - asked for at construction
        result = gradient.new_empty(gradient.shape[0], self._inputs) if onto is None else onto
        self._multiply(result, gradient, self._backward, start=onto, stride=self._inputs, factor=factor)
        return result

    def _multiply(
        self,
        result: Tensor,
        rows: Tensor,
        laid_out: Tensor,
        *,
        start: Tensor | None,
        stride: int,
        factor: Tensor | None = None,
    ) -> None:
        self._kernels.multiply(
            result.data_ptr(),
            rows.data_ptr(),
            laid_out.data_ptr(),
            None if start is None else start.data_ptr(),
            stride,
            None if factor is None else factor.data_ptr(),
            *rows.shape,
            result.shape[1],
        )


def _lay_out(kernels: Kernels, weight: Tensor) -> Tensor:
    result = torch.empty(weight.numel(), dtype=weight.dtype)
    kernels.lay_out(result.data_ptr(), weight.data_ptr(), *weight.stride(), *weight.shape)
    return result
