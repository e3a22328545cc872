"""All trained weights in one flat float32 buffer, so that clipping and AdamW are a few operations on one tensor."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor


class TrainableWeights:
    """Named views into two flat buffers, `values` and `gradients`.

    Order: weights first, biases last, because weight decay applies to `values[:decayed_count]` only. Weights named in
    `transposed` are stored the other way round (the layout their products want) and shown as they are saved.
    """

    def __init__(
        self, initial: Mapping[str, Tensor], dtype: torch.dtype, transposed: Collection[str] = frozenset()
    ) -> None:
        ordered = sorted(initial.items(), key=lambda item: item[1].dim() < 2)  # stable: keeps the given order
        self.names = [name for name, _ in ordered]
        self._transposed = frozenset(transposed)
        stored = {name: tensor.t() if name in self._transposed else tensor for name, tensor in ordered}
        self.values = torch.cat([tensor.reshape(-1) for tensor in stored.values()]).to(dtype)
        self.gradients = torch.zeros_like(self.values)
        self.decayed_count = sum(tensor.numel() for tensor in stored.values() if tensor.dim() >= 2)
        self._places: dict[str, tuple[int, tuple[int, ...]]] = {}
        offset = 0
        for name, tensor in stored.items():
            self._places[name] = (offset, tuple(tensor.shape))
            offset += tensor.numel()

    @property
    def count(self) -> int:
        """Number of trained values."""
        return self.values.numel()

    def value(self, name: str) -> Tensor:
        """Return one weight as it is saved (a view)."""
        return self._saved_way(name, self._view(self.values, [name])[0])

    def gradient(self, name: str) -> Tensor:
        """Return the gradient of one weight as the weight is saved (a view)."""
        return self._saved_way(name, self._view(self.gradients, [name])[0])

    def stacked_values(self, names: list[str]) -> Tensor:
        """Return equally shaped neighbours as they are stored, one view (n, ...)."""
        return self._view(self.values, names)

    def stacked_gradients(self, names: list[str]) -> Tensor:
        """Return the gradients of equally shaped neighbours as they are stored, one view (n, ...)."""
        return self._view(self.gradients, names)

    def state(self) -> dict[str, Tensor]:
        """Return a copy of every weight by name."""
        return {name: self.value(name).clone(memory_format=torch.contiguous_format) for name in self.names}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over weights by name; raises KeyError when one is missing."""
        for name in self.names:
            self.value(name).copy_(state[name])

    def _saved_way(self, name: str, stored: Tensor) -> Tensor:
        return stored.t() if name in self._transposed else stored

    def _view(self, buffer: Tensor, names: list[str]) -> Tensor:
        start, shape = self._places[names[0]]
        size = math.prod(shape)
        for position, name in enumerate(names):
            if self._places[name] != (start + position * size, shape):
                raise ValueError(f"weights {names} do not lie side by side")
        return buffer[start : start + len(names) * size].view(len(names), *shape)
