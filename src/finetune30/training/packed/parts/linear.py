"""Frozen linear layers with PyTorch's operators; their weights are laid out once for oneDNN. See also `native.linear`.

A matrix product spends much of its time reordering the weight when there are few rows. oneDNN can keep a weight in
its own blocked layout; PyTorch offers that through private operators (`mkldnn::_reorder_linear_weight` and
`mkldnn::_linear_pointwise`, used by its own graph freezer), so they are tried on a small product first and replaced
by the ordinary ones where they are missing, raise, or give another result.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

#: Rows for which oneDNN is asked to choose a layout; measured flat between 16 and 512.
_TYPICAL_ROWS = 64


class FrozenLinear(Protocol):
    """A linear layer that is not trained: products with its weight, forwards and backwards."""

    def forward(self, rows: Tensor) -> Tensor:
        """Return rows (T, in) @ weight.T + bias, (T, out)."""
        ...

    def input_gradient(self, gradient: Tensor, *, onto: Tensor | None = None, factor: Tensor | None = None) -> Tensor:
        """Return (onto + gradient (T, out) @ weight) * factor, all (T, in); may overwrite `onto`."""
        ...


class PlainLinear:
    """The layer with PyTorch's public operators; every data type."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight.contiguous(), bias

    def forward(self, rows: Tensor) -> Tensor:
        return functional.linear(rows, self._weight, self._bias)

    def input_gradient(self, gradient: Tensor, *, onto: Tensor | None = None, factor: Tensor | None = None) -> Tensor:
        return _finished(gradient @ self._weight, onto, factor)


class PrepackedLinear:
    """The layer with oneDNN's own weight layout, one copy for each direction; float32 and bfloat16.

    oneDNN keeps some 0.6 MB for every kind of product and number of rows it meets. So nothing is fused into products,
    and backward ones have a bias of zero: both directions, and all layers of a shape, are of one kind.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, needs_input_gradient: bool) -> None:
        reorder = torch.ops.mkldnn._reorder_linear_weight
        self._bias, self._no_bias = bias, bias.new_zeros(weight.shape[1])
        self._forward_weight = reorder(weight.contiguous(), _TYPICAL_ROWS)
        self._backward_weight = reorder(weight.t().contiguous(), _TYPICAL_ROWS) if needs_input_gradient else None

    def forward(self, rows: Tensor) -> Tensor:
        return _product(rows, self._forward_weight, self._bias)

    def input_gradient(self, gradient: Tensor, *, onto: Tensor | None = None, factor: Tensor | None = None) -> Tensor:
        return _finished(_product(gradient, self._backward_weight, self._no_bias), onto, factor)


def build_frozen_linear(weight: Tensor, bias: Tensor, *, needs_input_gradient: bool) -> FrozenLinear:
    """Return the fastest layer that this build of PyTorch offers for weight (out, in) and bias (out,)."""
    if can_prepack(weight.dtype):
        return PrepackedLinear(weight, bias, needs_input_gradient=needs_input_gradient)
    return PlainLinear(weight, bias)


@cache
def can_prepack(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN's prepacked products exist here and agree with the public operators."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    # Small integers have exact sums in both types, so the two results must be equal bit for bit.
    rows = (torch.arange(5 * 32).view(5, 32) % 7 - 3).to(dtype)
    weight = (torch.arange(16 * 32).view(16, 32) % 5 - 2).to(dtype)
    bias, gradient = (torch.arange(16) % 3).to(dtype), (torch.arange(5 * 16).view(5, 16) % 4).to(dtype)
    try:
        packed = PrepackedLinear(weight, bias, needs_input_gradient=True)
        results = (packed.forward(rows), packed.input_gradient(gradient))
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    plain = PlainLinear(weight, bias)
    expected = (plain.forward(rows), plain.input_gradient(gradient))
    return all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))


# The overload is named: the bare operator tries all in turn, and every failed try formats its tensors for a message.
def _product(rows: Tensor, weight: Tensor | None, bias: Tensor) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise.default(rows, weight, bias, "none", [], "")
    return result


def _finished(product: Tensor, onto: Tensor | None, factor: Tensor | None) -> Tensor:
    if onto is not None:
        product.add_(onto)
    return product if factor is None else product.mul_(factor)
