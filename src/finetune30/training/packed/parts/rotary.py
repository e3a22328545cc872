"""Rotary positions (Su et al. 2021): pairs of a head's numbers are turned by an angle that grows with the position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from finetune30.training.packed.layout import PackedLayout


class Rotary(Protocol):
    """Turns heads (T, heads, size) in place: numbers i and i + size / 2 are a pair."""

    def turn(self, heads: Tensor, layout: PackedLayout) -> None:
        """Turn each token by its position within its row."""
        ...

    def turn_back(self, gradient: Tensor, layout: PackedLayout) -> None:
        """Turn the gradient of what was turned into that of what was given."""
        ...


class PlainRotary:
    """See `Rotary`; with PyTorch's operators.

    Angles are float32 and their sines and cosines are rounded to the heads' type, as transformers does it.
    """

    def __init__(self, frequencies: Sequence[float], dtype: torch.dtype) -> None:
        self._frequencies, self._dtype = torch.tensor(frequencies, dtype=torch.float32), dtype
        self._known: tuple[PackedLayout, Tensor, Tensor] | None = None

    def turn(self, heads: Tensor, layout: PackedLayout) -> None:
        """See `Rotary.turn`."""
        self._turn(heads, layout, 1.0)

    def turn_back(self, gradient: Tensor, layout: PackedLayout) -> None:
        """See `Rotary.turn_back`."""
        self._turn(gradient, layout, -1.0)

    def _turn(self, heads: Tensor, layout: PackedLayout, direction: float) -> None:
        cosines, sines = self._waves(layout)
        sines = sines * direction
        first, second = heads.chunk(2, dim=-1)
        turned = first * cosines - second * sines
        second.mul_(cosines).add_(first * sines)
        first.copy_(turned)

    def _waves(self, layout: PackedLayout) -> tuple[Tensor, Tensor]:
        """Return cosine and sine of each token's angles, (T, 1, size / 2); the same in all layers, so they are kept."""
        if self._known is None or self._known[0] is not layout:
            angles = layout.positions[:, None, None].float() * self._frequencies
            self._known = (layout, angles.cos().to(self._dtype), angles.sin().to(self._dtype))
        return self._known[1:]
