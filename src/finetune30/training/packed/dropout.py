"""Dropout masks from a private, checkpointable generator.

PyTorch's CPU generator (Mersenne Twister, one value at a time) costs more than the dropped-out operation itself.
SFC64 fills a buffer of 16-bit integers at memory speed; a unit is dropped when its integer lies below p * 65536, so
p is exact to 1/65536. The masks of one batch come from one draw.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

_LEVELS = 1 << 16
_SMALLEST_DRAW = 1 << 14


class MaskSource:
    """Draws masks of 0 and 1 / (1 - p), so that a mask's mean is one (inverted dropout, Srivastava et al. 2014)."""

    def __init__(self, seed: int, dtype: torch.dtype) -> None:
        # The stream is spawned from the seed under a key of its own: data order uses the seed itself.
        self._bits = np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(0xD409,)))
        self._dtype = dtype
        self._pools: dict[tuple[float, torch.dtype], Tensor] = {}

    def begin_batch(self, elements: dict[float, int]) -> None:
        """Draw the masks of a batch at once: how many elements it needs by drop probability.

        What the last batch left over is thrown away, so the generator's state alone says what comes next.
        """
        self._pools = {
            (p, self._dtype): self._fill(p, count, self._dtype) for p, count in sorted(elements.items()) if p and count
        }

    def draw(self, shape: tuple[int, ...], probability: float, dtype: torch.dtype | None = None) -> Tensor | None:
        """Return a mask of this shape (by default in the compute type), or None when nothing is dropped."""
        if probability <= 0:
            return None
        count, key = math.prod(shape), (probability, dtype or self._dtype)
        pool = self._pools.get(key)
        if pool is None or pool.numel() < count:
            pool = self._fill(probability, max(count, _SMALLEST_DRAW), key[1])
        self._pools[key] = pool[count:]
        return pool[:count].view(shape)

    def state(self) -> dict[str, Any]:
        """Return the generator's state as JSON values."""
        state = self._bits.state
        return {
            "bit_generator": str(state["bit_generator"]),
            "state": [int(word) for word in state["state"]["state"]],
            "has_uint32": int(state["has_uint32"]),
            "uinteger": int(state["uinteger"]),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned; the next batch's masks are those of the run it was taken from."""
        self._bits.state = {
            "bit_generator": state["bit_generator"],
            "state": {"state": np.asarray(state["state"], dtype=np.uint64)},
            "has_uint32": state["has_uint32"],
            "uinteger": state["uinteger"],
        }
        self._pools = {}

    def _fill(self, probability: float, count: int, dtype: torch.dtype) -> Tensor:
        words = self._bits.random_raw(-(-count // 4))
        # Signed 16-bit integers: the lowest p * 65536 of them are the dropped ones.
        integers = torch.from_numpy(words.view(np.int16))[:count]
        kept = integers >= round(probability * _LEVELS) - _LEVELS // 2
        return kept.to(dtype).mul_(1.0 / (1.0 - probability))
