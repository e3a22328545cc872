"""How the tokens of a batch lie in memory: packed one row after the other, without padding.

Where oneDNN multiplies, T is rounded up a little with filler tokens that nobody reads: it prepares code for each number
of rows it meets, and there should be few of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetune30.training.packed.grid import AttentionGrid, build_grid

#: The compiled kernels work on vectors of so many numbers: widths and head sizes are multiples of it.
LANES = 16


@dataclass(frozen=True)
class PackedLayout:
    """The layout of one batch.

    Shapes: starts int64 (B + 1,) the token that starts each row, and the end of the last one; positions int64 (T,)
    within the row; lengths int64 (B,). `grid` is there for attention with PyTorch's operators only.
    """

    token_count: int
    heads: int
    starts: Tensor
    positions: Tensor
    lengths: NDArray[np.int64]
    grid: AttentionGrid | None

    @property
    def total(self) -> int:
        """T: tokens with fillers."""
        return len(self.positions)

    @property
    def first(self) -> Tensor:
        """The token that starts each row, int64 (B,)."""
        return self.starts[:-1]

    @cached_property
    def square_cells(self) -> Tensor:
        """See `_cells`; every token asks."""
        return self._cells(self.lengths)

    @cached_property
    def pooled_cells(self) -> Tensor:
        """See `_cells`; the first token of each row asks."""
        return self._cells(np.ones_like(self.lengths))

    def _cells(self, queries: NDArray[np.int64]) -> Tensor:
        """Return where the compiled attention keeps the probabilities of each row, int64 (B + 1,), the last the end.

        A row takes (heads, queries, width): its length rounded up to a multiple of 16.
        """
        widths = -(-self.lengths // LANES) * LANES
        return torch.from_numpy(np.concatenate([[0], np.cumsum(self.heads * queries * widths)]))


def build_layout(
    lengths: NDArray[np.int64], heads: int, dtype: torch.dtype, *, with_grid: bool, few_sizes: bool
) -> PackedLayout:
    """Plan a batch of rows with these lengths (tokens, each at least 1); `few_sizes`: with fillers."""
    tokens = int(lengths.sum())
    starts = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=starts[1:])
    places = np.arange(tokens) - np.repeat(starts[:-1], lengths)
    total = _rounded_up(tokens) if few_sizes else tokens
    grid = (
        build_grid(lengths, places, heads, dtype, total=total, next_total=_rounded_up(tokens + 1))
        if with_grid
        else None
    )
    positions = np.zeros(total if grid is None else len(grid.cell_of), dtype=np.int64)
    positions[:tokens] = places
    return PackedLayout(
        token_count=tokens,
        heads=heads,
        starts=torch.from_numpy(starts),
        positions=torch.from_numpy(positions),
        lengths=lengths,
        grid=grid,
    )


def _rounded_up(tokens: int) -> int:
    """Round to a multiple of 4 (of 2 up to 32 tokens): 1 % of filler in the mean.

    More sizes would save that filler, but what oneDNN keeps for a size takes 0.6 MB a kind of product.
    """
    step = 2 if tokens <= 32 else 4
    return -(-tokens // step) * step
