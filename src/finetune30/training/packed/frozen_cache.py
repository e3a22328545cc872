"""Running the frozen layers below the lowest trained one once a row, instead of once an epoch.

What they make of a row never changes while nothing is dropped out in them, so training on the top layers can start from
there. Rows are computed in blocks that are a function of the split alone, whichever row of a block is asked for first:
so a resumed run, which computes them anew, goes on with the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetune30.data.batching import Batch, collate, evaluation_order
from finetune30.data.encoding import EncodedSplit
from finetune30.training.packed.backbone import PackedBackbone

#: States above this size are not kept. Fixed, not a share of the free memory, so that every attempt does the same.
LARGEST_BYTES = 1 << 30
_ROWS_OF_A_BLOCK = 16


class FrozenPrefix:
    """States of the tokens of some splits before the layer `backbone.first_repeated`."""

    def __init__(self, backbone: PackedBackbone, pad_token_id: int) -> None:
        self._backbone, self._pad_token_id = backbone, pad_token_id
        self._kept: list[_SplitStates] = []

    def remember(self, split: EncodedSplit) -> int:
        """Keep the states of a split from now on; return the bytes that they will take, 0 when they are not kept.

        They are not where nothing lies below the lowest trained layer, something is dropped out, or they are too many.
        """
        backbone = self._backbone
        shape = (len(split.tokens) + 1, backbone.hidden_size)  # the last one is that of fillers
        size = math.prod(shape) * backbone.dtype.itemsize
        if not backbone.first_repeated or backbone.drops_out or size > LARGEST_BYTES:
            return 0
        self._kept.append(_SplitStates(split, shape, backbone.dtype, self._pad_token_id))
        return size

    def find(self, batch: Batch, total: int, run: Callable[[Batch], Tensor]) -> Tensor | None:
        """Return the states (total, hidden) of a batch's packed tokens and fillers, or None when they are not kept.

        `run` turns a batch into the states of its packed tokens (at least its tokens, hidden), without dropout.
        """
        for states in self._kept:
            if states.split is batch.split:
                return states.take(batch, total, run)
        return None


class _SplitStates:
    """States of one split, in the order of its tokens, computed block by block."""

    def __init__(self, split: EncodedSplit, shape: tuple[int, int], dtype: torch.dtype, pad_token_id: int) -> None:
        self.split, self._pad_token_id = split, pad_token_id
        self._blocks = evaluation_order(split.lengths, _ROWS_OF_A_BLOCK)
        self._block_of = np.empty(len(split), dtype=np.int64)
        for number, rows in enumerate(self._blocks):
            self._block_of[rows] = number
        self._is_computed = np.zeros(len(self._blocks), dtype=np.bool_)
        self._states = torch.zeros(shape, dtype=dtype)  # takes memory block by block, as it is written

    def take(self, batch: Batch, total: int, run: Callable[[Batch], Tensor]) -> Tensor:
        for number in np.unique(self._block_of[batch.rows]):
            if not self._is_computed[number]:
                block = collate(self.split, self._blocks[number], self._pad_token_id)
                places = self._places(block)
                self._states[torch.from_numpy(places)] = run(block)[: len(places)]
                self._is_computed[number] = True
        places = np.full(total, len(self.split.tokens), dtype=np.int64)
        found = self._places(batch)
        places[: len(found)] = found
        return self._states.index_select(0, torch.from_numpy(places))

    def _places(self, batch: Batch) -> NDArray[np.int64]:
        """Return where the tokens of the batch's rows stand in the split, rows one after the other."""
        starts, ends = self.split.offsets[batch.rows], np.cumsum(batch.lengths)
        places: NDArray[np.int64] = np.arange(ends[-1]) + np.repeat(starts - (ends - batch.lengths), batch.lengths)
        return places
