"""All trained weights in one flat buffer, so that clipping and AdamW are a few operations on one tensor.

The optimizer works on float32 masters; the encoder may compute in bfloat16 and then reads copies that are refreshed
once after each optimizer step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor


class TrainableWeights:
    """Named views into flat buffers: `values`, `gradients` and, in the compute type, copies.

    Order: weights first, biases last, because weight decay applies to `values[:decayed_count]` only.
    """

    def __init__(self, initial: Mapping[str, Tensor], master_dtype: torch.dtype, compute_dtype: torch.dtype) -> None:
        ordered = sorted(initial.items(), key=lambda item: item[1].dim() < 2)  # stable: keeps the given order
        self.names = [name for name, _ in ordered]
        self.values = torch.cat([tensor.reshape(-1) for _, tensor in ordered]).to(master_dtype)
        self.gradients = torch.zeros_like(self.values)
        self.decayed_count = sum(tensor.numel() for _, tensor in ordered if tensor.dim() >= 2)
        self._places: dict[str, tuple[int, tuple[int, ...]]] = {}
        offset = 0
        for name, tensor in ordered:
            self._places[name] = (offset, tuple(tensor.shape))
            offset += tensor.numel()
        self._copies = self.values if compute_dtype == master_dtype else self.values.to(compute_dtype)

    @property
    def count(self) -> int:
        """Number of trained values."""
        return self.values.numel()

    def value(self, name: str) -> Tensor:
        """Return the master of one weight (a view)."""
        return self._view(self.values, [name])[0]

    def gradient(self, name: str) -> Tensor:
        """Return the gradient of one weight (a view)."""
        return self._view(self.gradients, [name])[0]

    def stacked_copies(self, names: list[str]) -> Tensor:
        """Return equally shaped neighbours as one view (n, ...) in the compute type."""
        return self._view(self._copies, names)

    def stacked_values(self, names: list[str]) -> Tensor:
        """Return the masters of equally shaped neighbours as one view (n, ...)."""
        return self._view(self.values, names)

    def stacked_gradients(self, names: list[str]) -> Tensor:
        """Return the gradients of equally shaped neighbours as one view (n, ...)."""
        return self._view(self.gradients, names)

    def refresh_copies(self) -> None:
        """Bring the compute type's copies up to date with the masters."""
        if self._copies is not self.values:
            self._copies.copy_(self.values)

    def state(self) -> dict[str, Tensor]:
        """Return a copy of every weight by name."""
        return {name: self.value(name).clone() for name in self.names}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over weights by name; raises KeyError when one is missing."""
        for name in self.names:
            self.value(name).copy_(state[name])
        self.refresh_copies()

    def _view(self, buffer: Tensor, names: list[str]) -> Tensor:
        start, shape = self._places[names[0]]
        size = math.prod(shape)
        for position, name in enumerate(names):
            if self._places[name] != (start + position * size, shape):
                raise ValueError(f"weights {names} do not lie side by side")
        return buffer[start : start + len(names) * size].view(len(names), *shape)
