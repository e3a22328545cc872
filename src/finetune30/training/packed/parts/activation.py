"""The activation between the two linear layers of a feed-forward block, with its derivative."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

#: Those that there are, by transformers' names.
ACTIVATIONS = ("gelu", "relu")


class Activation(Protocol):
    """An activation function of (T, inner)."""

    def forward(self, inner: Tensor, *, keeps_derivative: bool) -> tuple[Tensor, Tensor]:
        """Return the function's values and, if kept, its derivative, both (T, inner); may overwrite the argument."""
        ...


class Gelu:
    """The exact GELU (Hendrycks & Gimpel 2016)."""

    def forward(self, inner: Tensor, *, keeps_derivative: bool) -> tuple[Tensor, Tensor]:
        """See `Activation.forward`."""
        if not keeps_derivative:
            return torch.ops.aten.gelu_.default(inner), inner
        return functional.gelu(inner), torch.ops.aten.gelu_backward(torch.ones_like(inner[:1]).expand_as(inner), inner)


class Relu:
    """The positive part."""

    def forward(self, inner: Tensor, *, keeps_derivative: bool) -> tuple[Tensor, Tensor]:
        """See `Activation.forward`."""
        active = inner.relu_()
        return active, (active > 0).to(active.dtype) if keeps_derivative else active
