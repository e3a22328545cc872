"""How the tokens of a batch lie in memory: packed one row after the other, without padding.

Everything but attention works on tokens, (T, hidden). Attention needs (groups * heads, width, head size): a grid of
cells, one token in each.

    joint   few tokens: one group of all of them, a block-diagonal mask keeps the rows apart
    grid    else: rows are the groups, as wide as the longest and a multiple of 16 (the softmax is several times
            slower on other widths)

T is rounded up a little with filler tokens that nobody reads: oneDNN prepares code for each number of rows it meets,
and there should be few of them. Fillers lie in empty cells and empty cells show a filler, so both moves are one
gathering of head-sized pieces. On the way back this adds nothing: the gradients of fillers and of empty cells are zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Joint attention computes scores between rows that are masked away; up to so many tokens that costs less than a grid.
_JOINT_TOKENS = 64
_GRID_STEP = 16
#: Up to this width float32 attention is faster than bfloat16, whose small products and softmax are slow on CPUs.
_WIDEST_IN_FLOAT32 = 32


@dataclass(frozen=True)
class PackedLayout:
    """The layout of one batch.

    Shapes: first int64 (B,) the token that starts each row; positions int64 (T,) within the row; token_of int64
    (groups, width) the token of each cell; cell_of int64 (T,) the cell of each token. `mask` (queries of all tokens)
    and `pooled_mask` (queries of first tokens) hold 0 and -inf and are added to scores
    (groups * heads, queries, width).
    """

    token_count: int
    heads: int
    first: Tensor
    positions: Tensor
    token_of: NDArray[np.int64]
    cell_of: NDArray[np.int64]
    mask: Tensor | None
    pooled_mask: Tensor | None
    attention_dtype: torch.dtype
    _indices: dict[tuple[str, int], Tensor] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """T: tokens with fillers."""
        return len(self.cell_of)

    @property
    def groups(self) -> int:
        """Groups of tokens that attend to each other."""
        return len(self.token_of)

    @property
    def width(self) -> int:
        """Cells of a group."""
        return int(self.token_of.shape[1])

    def to_heads(self, tokens: Tensor, parts: int) -> Tensor:
        """Return tokens (T, parts * hidden) as (parts, groups * heads, width, size)."""
        index = self._index("to", parts)
        pieces = tokens.view(self.total * parts * self.heads, -1).index_select(0, index)
        return pieces.view(parts, self.groups * self.heads, self.width, -1)

    def from_heads(self, cells: Tensor) -> Tensor:
        """Return cells (parts, groups * heads, width, size) as (T, parts * hidden)."""
        parts, size = len(cells), cells.shape[-1]
        return cells.view(-1, size).index_select(0, self._index("from", parts)).view(self.total, -1)

    def _index(self, direction: str, parts: int) -> Tensor:
        """Return which pieces to gather; the same in all layers, so it is kept."""
        found = self._indices.get((direction, parts))
        if found is None:
            build = self._pieces_of_cells if direction == "to" else self._pieces_of_tokens
            found = self._indices[direction, parts] = torch.from_numpy(build(parts).reshape(-1))
        return found

    def _pieces_of_cells(self, parts: int) -> NDArray[np.int64]:
        part = np.arange(parts)[:, None, None, None]
        head = np.arange(self.heads)[None, None, :, None]
        return (self.token_of[None, :, None, :] * parts + part) * self.heads + head

    def _pieces_of_tokens(self, parts: int) -> NDArray[np.int64]:
        group, place = np.divmod(self.cell_of, self.width)
        part, head = np.arange(parts)[None, :, None], np.arange(self.heads)[None, None, :]
        matrix = (part * self.groups + group[:, None, None]) * self.heads + head
        return matrix * self.width + place[:, None, None]


def build_layout(lengths: NDArray[np.int64], heads: int, dtype: torch.dtype) -> PackedLayout:
    """Plan a batch of rows with these lengths (tokens, each at least 1)."""
    rows, tokens = len(lengths), int(lengths.sum())
    starts = np.zeros(rows, dtype=np.int64)
    np.cumsum(lengths[:-1], out=starts[1:])
    row_of = np.repeat(np.arange(rows), lengths)
    places = np.arange(tokens) - starts[row_of]
    total = _rounded_up(tokens)
    joint = total <= _JOINT_TOKENS
    if joint:
        width = total
        cell_of = np.arange(total)
        token_of = cell_of[None, :]
        row_of = np.concatenate([row_of, np.full(total - tokens, rows)])
        allowed = row_of[:, None] == row_of[None, :]
    else:
        width = -(-int(lengths.max()) // _GRID_STEP) * _GRID_STEP
        # Empty cells show a filler: there is at least one, unless no cell is empty.
        total = tokens if tokens == rows * width else _rounded_up(tokens + 1)
        cell_of, token_of = _place_in_grid(row_of * width + places, rows, width, total)
        allowed = (np.arange(width)[None, :] < lengths[:, None])[:, None]
    attention_dtype = torch.float32 if dtype == torch.bfloat16 and width <= _WIDEST_IN_FLOAT32 else dtype
    mask = pooled_mask = None
    if joint:
        mask = _mask_of(allowed[None], attention_dtype)
        pooled_mask = _mask_of(allowed[None, starts], attention_dtype)
    elif not allowed.all():
        mask = pooled_mask = _mask_of(np.repeat(allowed, heads, axis=0), attention_dtype)
    positions = np.zeros(total, dtype=np.int64)
    positions[:tokens] = places
    return PackedLayout(
        token_count=tokens,
        heads=heads,
        first=torch.from_numpy(starts),
        positions=torch.from_numpy(positions),
        token_of=token_of,
        cell_of=cell_of,
        mask=mask,
        pooled_mask=pooled_mask,
        attention_dtype=attention_dtype,
    )


def _place_in_grid(
    cells: NDArray[np.int64], rows: int, width: int, total: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cell of each of `total` tokens, and the token of each cell of the grid (rows, width)."""
    tokens = len(cells)
    token_of = np.full(rows * width, total - 1, dtype=np.int64)
    token_of[cells] = np.arange(tokens)
    cell_of = np.empty(total, dtype=np.int64)
    cell_of[:tokens] = cells
    if total > tokens:
        cell_of[tokens:] = np.flatnonzero(token_of == total - 1)[0]
    return cell_of, token_of.reshape(rows, width)


def _rounded_up(tokens: int) -> int:
    """Round to a sixteenth of the next power of two, within 4 and 16: some 4 % of filler in the mean.

    More sizes would save that filler, but what oneDNN keeps for a size takes 0.6 MB a product.
    """
    step = min(16, max(4, 1 << max(0, math.ceil(math.log2(tokens)) - 4)))
    return -(-tokens // step) * step


def _mask_of(allowed: NDArray[np.bool_], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.where(allowed, np.float32(0.0), np.float32("-inf"))).to(dtype)
