"""Dropout masks from Threefry (Salmon et al. 2011): a draw's bits follow from the seed and the draw's number alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from finetune30.training.packed.native.library import Kernels

#: 16 random bits decide a unit, so p is exact to 1/65536.
_LEVELS = 1 << 16
#: The kernel writes so many units at a time.
_BLOCK = 64


class ThreefryMasks:
    """See `MaskSource`. Masks of bytes hold 0 and 1: who asks for them multiplies by 1 / (1 - p) himself."""

    def __init__(self, kernels: Kernels, seed: int) -> None:
        self._kernels, self._draws = kernels, 0
        # Spawned under a key of its own: data order draws from the seed itself.
        key = np.random.SeedSequence(seed, spawn_key=(_LEVELS,)).generate_state(2, np.uint32)
        self._key = int(key[0]), int(key[1])

    def draw(self, shape: tuple[int, ...], probability: float, dtype: torch.dtype) -> Tensor | None:
        """See `MaskSource.draw`."""
        if probability <= 0:
            return None
        count = math.prod(shape)
        mask = torch.empty(-(-count // _BLOCK) * _BLOCK, dtype=torch.uint8)
        threshold = round(probability * _LEVELS)
        self._kernels.draw_mask(mask.data_ptr(), mask.numel(), *self._key, self._draws % (1 << 32), threshold)
        self._draws += 1
        mask = mask[:count].view(shape)
        return mask if dtype == torch.uint8 else mask.to(dtype).mul_(1.0 / (1.0 - probability))

    def state(self) -> dict[str, Any]:
        """See `MaskSource.state`."""
        return {"draws": self._draws}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `MaskSource.load_state`."""
        self._draws = state["draws"]
