"""The activation between the two linear layers of a feed-forward block, forwards and backwards."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Activation(Protocol):
    """An activation function of (T, inner)."""

    def forward(self, inner: Tensor, *, keeps_tape: bool) -> tuple[Tensor, Tensor]:
        """Return the function's values and what `backward` needs; may overwrite the argument."""
        ...

    def backward(self, gradient: Tensor, tape: Tensor) -> Tensor:
        """Return the gradient of the argument; may overwrite that of the values."""
        ...


class Gelu:
    """The exact GELU (Hendrycks & Gimpel 2016)."""

    def forward(self, inner: Tensor, *, keeps_tape: bool) -> tuple[Tensor, Tensor]:
        """See `Activation.forward`; the tape is the argument."""
        active = functional.gelu(inner) if keeps_tape else torch.ops.aten.gelu_.default(inner)
        return active, inner

    def backward(self, gradient: Tensor, tape: Tensor) -> Tensor:
        """See `Activation.backward`."""
        result: Tensor = torch.ops.aten.gelu_backward(gradient, tape)
        return result


class Relu:
    """The positive part."""

    def forward(self, inner: Tensor, *, keeps_tape: bool) -> tuple[Tensor, Tensor]:
        """See `Activation.forward`; the tape is the result."""
        active = inner.relu_()
        return active, active

    def backward(self, gradient: Tensor, tape: Tensor) -> Tensor:
        """See `Activation.backward`."""
        return gradient.mul_(tape > 0)
