"""How the tokens of a batch lie in memory: packed one row after the other, without padding.

Where oneDNN multiplies, T is rounded up a little with filler tokens that nobody reads: it prepares code for each number
of rows it meets, and there should be few of them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetune30.training.packed.grid import AttentionGrid, build_grid

#: The compiled kernels work on vectors of so many numbers: widths and head sizes are multiples of it.
LANES = 16
#: Without padding little is gained by working on more tokens than this together, and activations take memory.
TOKENS_AT_ONCE = 384


class AskingTokens(NamedTuple):
    """The tokens whose outputs are asked for, at least one in all; the last layer keeps no others.

    Shapes: places int64 (Q,) within their rows, row after row; counts int64 (B,) how many each row has.
    """

    places: NDArray[np.int64]
    counts: NDArray[np.int64]


def first_tokens(lengths: NDArray[np.int64]) -> AskingTokens:
    """Return the first token of each row."""
    return AskingTokens(np.zeros(len(lengths), dtype=np.int64), np.ones(len(lengths), dtype=np.int64))


def last_tokens(lengths: NDArray[np.int64]) -> AskingTokens:
    """Return the last token of each row."""
    return AskingTokens(lengths - 1, np.ones(len(lengths), dtype=np.int64))


class Queries(NamedTuple):
    """What asks in attention: `starts` int64 (B + 1,) the first query of each row, and the end of the last one.

    `cells` int64 (B + 1,) is where the compiled attention keeps the probabilities of each row, and their end, which is
    `cell_count`: a row takes (heads, queries, width), its length rounded up to a multiple of 16.
    """

    starts: Tensor
    cells: Tensor
    cell_count: int


@dataclass(frozen=True)
class PackedLayout:
    """The layout of one batch.

    Shapes: starts int64 (B + 1,) the token that starts each row, and the end of the last one; positions int64 (T,)
    within the row; lengths int64 (B,); asking int64 (Q,) the tokens whose outputs are asked for, row after row, and
    asking_counts int64 (B,) how many each row has. `grid` is there for attention with PyTorch's operators only.
    """

    token_count: int
    heads: int
    starts: Tensor
    positions: Tensor
    lengths: NDArray[np.int64]
    asking: Tensor
    asking_counts: NDArray[np.int64]
    grid: AttentionGrid | None

    @property
    def total(self) -> int:
        """T: tokens with fillers."""
        return self.positions.shape[0]

    @cached_property
    def rows(self) -> list[slice]:
        """The tokens of each row."""
        ends = self.starts.tolist()
        return [slice(start, end) for start, end in itertools.pairwise(ends)]

    @cached_property
    def all_queries(self) -> Queries:
        """Every token asks."""
        return self._queries(self.starts, self.lengths)

    @cached_property
    def asking_queries(self) -> Queries:
        """The tokens whose outputs are asked for ask."""
        return self._queries(torch.from_numpy(_starts_of(self.asking_counts)), self.asking_counts)

    @cached_property
    def _cells_of_a_query(self) -> NDArray[np.int64]:
        """In each row, all heads together."""
        return self.heads * (-(-self.lengths // LANES) * LANES)

    def _queries(self, starts: Tensor, counts: NDArray[np.int64]) -> Queries:
        cells = _starts_of(self._cells_of_a_query * counts)
        return Queries(starts, torch.from_numpy(cells), int(cells[-1]))


def build_layout(
    lengths: NDArray[np.int64],
    asking: AskingTokens,
    heads: int,
    dtype: torch.dtype,
    *,
    with_grid: bool,
    few_sizes: bool,
    before: NDArray[np.int64] | None = None,
) -> PackedLayout:
    """Plan a batch of rows with these lengths (tokens, each at least 1); `few_sizes`: with fillers.

    `before`: how many tokens each row has had already, int64 (B,), none unless given.
    """
    tokens = int(lengths.sum())
    starts = _starts_of(lengths)
    places = np.arange(tokens) - np.repeat(starts[:-1], lengths)
    asking_tokens = np.repeat(starts[:-1], asking.counts) + asking.places
    total = _rounded_up(tokens) if few_sizes else tokens
    grid = None
    if with_grid:
        next_total = _rounded_up(tokens + 1)
        grid = build_grid(
            lengths, places, asking_tokens, asking.counts, heads, dtype, total=total, next_total=next_total
        )
        total = len(grid.tokens.cell_of)
    positions = places if before is None else places + np.repeat(before, lengths)
    if total > tokens:
        positions = np.concatenate([positions, np.zeros(total - tokens, dtype=np.int64)])
    return PackedLayout(
        token_count=tokens,
        heads=heads,
        starts=torch.from_numpy(starts),
        positions=torch.from_numpy(positions),
        lengths=lengths,
        asking=torch.from_numpy(asking_tokens),
        asking_counts=asking.counts,
        grid=grid,
    )


def halve(lengths: NDArray[np.int64], most: int, rows: slice) -> list[slice]:
    """Halve rows until every part has at most so many tokens, and twice as many cells in attention, or is one row.

    Halves, not parts of the largest size that fits: they are alike, and few sizes where `few_sizes` are wanted.
    """
    count = rows.stop - rows.start
    if count == 1 or (lengths[rows].sum() <= most and count * lengths[rows].max() <= 2 * most):
        return [rows]
    middle = rows.start + count // 2
    return halve(lengths, most, slice(rows.start, middle)) + halve(lengths, most, slice(middle, rows.stop))


def _starts_of(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each of some neighbours begins, and the end of the last one."""
    starts = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=starts[1:])
    return starts


def _rounded_up(tokens: int) -> int:
    """Round to a multiple of 4 (of 2 up to 32 tokens): 1 % of filler in the mean.

    More sizes would save that filler, but what oneDNN keeps for a size takes 0.6 MB a kind of product.
    """
    step = 2 if tokens <= 32 else 4
    return -(-tokens // step) * step
