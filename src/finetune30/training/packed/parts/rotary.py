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


class Waves:
    """Cosines and sines of every token's angles, (T, size / 2) each; the same in all layers, so they are kept.

    Angles are float32, and what is made of them is rounded to the heads' type `dtype`, as transformers does it.
    """

    def __init__(self, frequencies: Sequence[float], dtype: torch.dtype, kept_as: torch.dtype) -> None:
        self._frequencies = torch.tensor(frequencies, dtype=torch.float32)
        self._dtype, self._kept_as = dtype, kept_as
        self._known: tuple[PackedLayout, Tensor, Tensor] | None = None

    def of(self, layout: PackedLayout) -> tuple[Tensor, Tensor]:
        """Return the cosines and sines of a batch."""
        if self._known is None or self._known[0] is not layout:
            angles = layout.positions[:, None].float() * self._frequencies
            cosines, sines = (wave.to(self._dtype).to(self._kept_as) for wave in (angles.cos(), angles.sin()))
            self._known = (layout, cosines, sines)
        return self._known[1:]


class PlainRotary:
    """See `Rotary`; with PyTorch's operators."""

    def __init__(self, frequencies: Sequence[float], dtype: torch.dtype) -> None:
        self._waves = Waves(frequencies, dtype, dtype)

    def turn(self, heads: Tensor, layout: PackedLayout) -> None:
        """See `Rotary.turn`."""
        self._turn(heads, layout, 1.0)

    def turn_back(self, gradient: Tensor, layout: PackedLayout) -> None:
        """See `Rotary.turn_back`."""
        self._turn(gradient, layout, -1.0)

    def _turn(self, heads: Tensor, layout: PackedLayout, direction: float) -> None:
        cosines, sines = (wave[:, None] for wave in self._waves.of(layout))
        sines = sines * direction
        first, second = heads.chunk(2, dim=-1)
        turned = first * cosines - second * sines
        second.mul_(cosines).add_(first * sines)
        first.copy_(turned)
