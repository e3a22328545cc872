"""GELU and its derivative in one pass; see `native.memory`."""

from __future__ import annotations

import torch
from torch import Tensor

from finetune30.training.packed.native.library import Kernels


class NativeGelu:
    """See `Activation`."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels

    def forward(self, inner: Tensor, *, keeps_derivative: bool) -> tuple[Tensor, Tensor]:
        """See `Activation.forward`."""
        active = torch.empty_like(inner) if keeps_derivative else inner
        self._kernels.forward_gelu(inner.data_ptr(), active.data_ptr(), keeps_derivative, inner.numel())
        return active, inner
