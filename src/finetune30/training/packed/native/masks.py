"""Dropout masks from Threefry (Salmon et al. 2011): a draw's bits follow from the seed and the draw's number alone."""

from __future__ import annotations

import itertools
import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from finetune30.training.packed.native.library import Kernels

#: 16 random bits decide a unit, so p is exact to 1/65536.
_LEVELS = 1 << 16
#: Units drawn at a time: one call serves many masks. A multiple of 64, as the kernel wants it.
_CHUNK = 1 << 20
_BLOCK = 64


class ThreefryMasks:
    """See `MaskSource`. Masks of bytes hold 0 and 1: who asks for them multiplies by 1 / (1 - p) himself.

    Every drop probability has a chunk that it hands out slice by slice; the rest of one that is too short is skipped.
    """

    def __init__(self, kernels: Kernels, seed: int) -> None:
        self._kernels, self._draws = kernels, 0
        # Spawned under a key of its own: data order draws from the seed itself.
        key = np.random.SeedSequence(seed, spawn_key=(_LEVELS,)).generate_state(2, np.uint32)
        self._key = int(key[0]), int(key[1])
        self._chunks: dict[float, _Chunk] = {}

    def draw(self, shape: tuple[int, ...], probability: float, dtype: torch.dtype) -> Tensor | None:
        """See `MaskSource.draw`."""
        if probability <= 0:
            return None
        count = math.prod(shape)
        chunk = self._chunks.get(probability)
        if chunk is None or chunk.taken + count > chunk.size:
            size = max(_CHUNK, -(-count // _BLOCK) * _BLOCK)
            chunk = self._chunks[probability] = _Chunk(self._fill(self._draws, size, probability), size, self._draws)
            self._draws += 1
        # One operator instead of a slice and a view of it: some thirty masks are drawn a step.
        strides = tuple(itertools.accumulate(reversed(shape[1:]), operator.mul, initial=1))[::-1]
        mask = chunk.units.as_strided(shape, strides, chunk.taken)
        chunk.taken += count
        if dtype == torch.uint8:
            return mask
        kept = 1.0 / (1.0 - probability)
        # Bytes times a number are float32: one operation instead of two.
        return mask * kept if dtype == torch.float32 else mask.to(dtype).mul_(kept)

    def _fill(self, draw: int, size: int, probability: float) -> Tensor:
        units = torch.empty(size, dtype=torch.uint8)
        threshold = round(probability * _LEVELS)
        self._kernels.draw_mask(units.data_ptr(), size, *self._key, draw % (1 << 32), threshold)
        return units

    def state(self) -> dict[str, Any]:
        """See `MaskSource.state`."""
        chunks = {repr(p): [chunk.draw, chunk.size, chunk.taken] for p, chunk in self._chunks.items()}
        return {"draws": self._draws, "chunks": chunks}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `MaskSource.load_state`."""
        self._draws, self._chunks = state["draws"], {}
        for key, (draw, size, taken) in state["chunks"].items():
            self._chunks[float(key)] = _Chunk(self._fill(draw, size, float(key)), size, draw, taken)


@dataclass
class _Chunk:
    """Units (size,) of one draw, and how many of them are handed out."""

    units: Tensor
    size: int
    draw: int
    taken: int = 0
