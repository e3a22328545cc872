"""What lies between the two products of a gated feed-forward block: silu(gate) * up (Shazeer 2020, SwiGLU)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Gate(Protocol):
    """silu(gate) * up, where gate and up lie side by side: (T, 2 * inner)."""

    def forward(self, pair: Tensor) -> Tensor:
        """Return the product, (T, inner)."""
        ...

    def backward(self, gradient: Tensor, pair: Tensor) -> Tensor:
        """Return the gradient of the pair (T, 2 * inner) from that of the product (T, inner)."""
        ...


class PlainGate:
    """See `Gate`; with PyTorch's operators."""

    def forward(self, pair: Tensor) -> Tensor:
        """See `Gate.forward`."""
        gate, up = pair.chunk(2, dim=1)
        return functional.silu(gate).mul_(up)

    def backward(self, gradient: Tensor, pair: Tensor) -> Tensor:
        """See `Gate.backward`."""
        gate, up = pair.chunk(2, dim=1)
        result = torch.empty_like(pair)
        to_gate, to_up = result.chunk(2, dim=1)
        torch.mul(gradient, functional.silu(gate), out=to_up)
        to_gate.copy_(torch.ops.aten.silu_backward(gradient * up, gate))
        return result
