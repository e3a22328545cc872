"""Dropout masks from private, checkpointable generators.

Where the compiled kernels run, masks come from `native.masks`, else from here. PyTorch's CPU generator (Mersenne
Twister, one value at a time) costs more than the dropped-out operation itself. SFC64 fills a buffer with 16-bit numbers
at memory speed; a unit is dropped when its number is among the lowest p * 65536, so p is exact to 1/65536. Masks are
made in large chunks and handed out slice by slice.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

_LEVELS = 1 << 16
_CHUNK = 1 << 18


class MaskSource(Protocol):
    """Draws masks of 0 and 1 / (1 - p), so that a mask's mean is one (inverted dropout, Srivastava et al. 2014)."""

    def draw(self, shape: tuple[int, ...], probability: float, dtype: torch.dtype) -> Tensor | None:
        """Return a mask of this shape and type, or None when nothing is dropped."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what decides the next masks, as JSON values."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned; the next masks are those that the saved source would have drawn."""
        ...


class StreamedMasks:
    """See `MaskSource`.

    Every drop probability and data type has a stream of its own, seeded by the training seed and both.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._streams: dict[tuple[float, torch.dtype], _MaskStream] = {}

    def draw(self, shape: tuple[int, ...], probability: float, dtype: torch.dtype) -> Tensor | None:
        """See `MaskSource.draw`."""
        if probability <= 0:
            return None
        stream = self._streams.get((probability, dtype))
        if stream is None:
            stream = self._streams[probability, dtype] = _MaskStream(self._seed, probability, dtype)
        return stream.take(math.prod(shape)).view(shape)

    def state(self) -> dict[str, Any]:
        """See `MaskSource.state`."""
        return {
            f"{probability!r} {str(dtype).removeprefix('torch.')}": stream.state()
            for (probability, dtype), stream in self._streams.items()
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """See `MaskSource.load_state`."""
        self._streams = {}
        for key, saved in state.items():
            probability, _, dtype = key.partition(" ")
            stream = _MaskStream(self._seed, float(probability), getattr(torch, dtype))
            stream.load_state(saved)
            self._streams[float(probability), getattr(torch, dtype)] = stream


class _MaskStream:
    """An endless row of mask values; its state is the generator's before the present chunk, and the place in it."""

    def __init__(self, seed: int, probability: float, dtype: torch.dtype) -> None:
        self._threshold = round(probability * _LEVELS) - _LEVELS // 2
        self._dtype = dtype
        kept_value = torch.tensor([1.0 / (1.0 - probability)], dtype=dtype)
        self._kept_bits = kept_value.view(torch.uint8).numpy().view(f"u{dtype.itemsize}")
        key = (self._threshold + _LEVELS // 2, dtype.itemsize)
        # Spawned under a key of its own: data order draws from the seed itself.
        self._bits = np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key))
        self._before = self._bits.state
        self._chunk = torch.empty(0, dtype=dtype)
        self._taken = 0

    def take(self, count: int) -> Tensor:
        """Return the next values (count,); the rest of a chunk that is too short is skipped."""
        if self._taken + count > self._chunk.numel():
            self._fill(max(_CHUNK, count))
        values = self._chunk[self._taken : self._taken + count]
        self._taken += count
        return values

    def state(self) -> dict[str, Any]:
        return {
            "words": [int(word) for word in self._before["state"]["state"]],
            "chunk": self._chunk.numel(),
            "taken": self._taken,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        words = np.asarray(state["words"], dtype=np.uint64)
        self._bits.state = {**self._before, "state": {"state": words}}
        self._before = self._bits.state
        if state["chunk"]:
            self._fill(state["chunk"])
        self._taken = state["taken"]

    def _fill(self, count: int) -> None:
        self._before = self._bits.state
        words = self._bits.random_raw(-(-count // 4))
        # Read as signed, the lowest integers are the negative ones; the threshold is shifted to match.
        kept = words.view(np.int16)[:count] >= self._threshold
        # The bit pattern of 1 / (1 - p), or zero: an integer product is far cheaper than casting and scaling.
        patterns = kept.view(np.uint8) * self._kept_bits
        self._chunk, self._taken = torch.from_numpy(patterns.view(np.uint8)).view(self._dtype), 0
