"""Root mean square norm (Zhang & Sennrich 2019), forwards and backwards; its weight is frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class RmsNorm(Protocol):
    """weight * x / sqrt(mean of x^2 + epsilon) over the last dimension."""

    def forward(self, rows: Tensor) -> tuple[Tensor, Any]:
        """Return the norm of rows (…, width), and a tape."""
        ...

    def backward(self, gradient: Tensor, rows: Tensor, tape: Any, onto: Tensor | None = None) -> Tensor:
        """Return the gradient of the rows (…, width), added to `onto` where it is given, which may be overwritten."""
        ...


@dataclass(frozen=True)
class PlainRmsNorm:
    """See `RmsNorm`; with PyTorch's operators.

    Of bfloat16 it is computed in float32 and rounded before the weight comes to it, as transformers does.
    """

    weight: Tensor
    epsilon: float

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """See `RmsNorm.forward`; the tape is the reciprocal of the root, (…, 1)."""
        wide = _widened(rows)
        reciprocal = wide.square().mean(-1, keepdim=True).add_(self.epsilon).rsqrt_()
        return (wide * reciprocal).to(rows.dtype) * self.weight, reciprocal

    def backward(self, gradient: Tensor, rows: Tensor, tape: Tensor, onto: Tensor | None = None) -> Tensor:
        """See `RmsNorm.backward`."""
        normal = _widened(rows) * tape
        weighted = _widened(gradient * self.weight)
        along = (weighted * normal).mean(-1, keepdim=True)
        below = torch.addcmul(weighted, normal, along, value=-1.0).mul_(tape).to(gradient.dtype)
        return below if onto is None else onto.add_(below)


def _widened(rows: Tensor) -> Tensor:
    return rows.float() if rows.dtype == torch.bfloat16 else rows
