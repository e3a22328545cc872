"""Where attention with PyTorch's operators finds its tokens: (groups * heads, width, head size), one token a cell.

    joint   few tokens: one group of all of them, a block-diagonal mask keeps the rows apart
    grid    else: rows are the groups, as wide as the longest and a multiple of 16 (the softmax is several times
            slower on other widths)

Fillers lie in empty cells and empty cells show a filler, so both moves are one gathering of head-sized pieces. On the
way back this adds nothing: the gradients of fillers and of empty cells are zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

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
class AttentionGrid:
    """Cells of attention.

    Shapes: token_of int64 (groups, width) the token of each cell; cell_of int64 (T,) the cell of each token. `mask`
    (queries of all tokens) and `pooled_mask` (queries of first tokens) hold 0 and -inf and are added to scores
    (groups * heads, queries, width).
    """

    heads: int
    token_of: NDArray[np.int64]
    cell_of: NDArray[np.int64]
    mask: Tensor | None
    pooled_mask: Tensor | None
    dtype: torch.dtype

    @property
    def groups(self) -> int:
        """Groups of tokens that attend to each other."""
        return len(self.token_of)

    @property
    def width(self) -> int:
        """Cells of a group."""
        return int(self.token_of.shape[1])

    def to_heads(self, tokens: Tensor) -> Tensor:
        """Return tokens (T, hidden) as (groups * heads, width, size)."""
        pieces = tokens.view(len(self.cell_of) * self.heads, -1).index_select(0, self._pieces_of_cells)
        return pieces.view(self.groups * self.heads, self.width, -1)

    def from_heads(self, cells: Tensor) -> Tensor:
        """Return cells (groups * heads, width, size) as (T, hidden)."""
        pieces = cells.view(-1, cells.shape[-1]).index_select(0, self._pieces_of_tokens)
        return pieces.view(len(self.cell_of), -1)

    # Which pieces to gather is the same in all layers, so it is kept.

    @cached_property
    def _pieces_of_cells(self) -> Tensor:
        head = np.arange(self.heads)[None, :, None]
        return torch.from_numpy((self.token_of[:, None, :] * self.heads + head).reshape(-1))

    @cached_property
    def _pieces_of_tokens(self) -> Tensor:
        group, place = np.divmod(self.cell_of, self.width)
        matrix = group[:, None] * self.heads + np.arange(self.heads)
        return torch.from_numpy((matrix * self.width + place[:, None]).reshape(-1))


def build_grid(
    lengths: NDArray[np.int64],
    places: NDArray[np.int64],
    heads: int,
    dtype: torch.dtype,
    *,
    total: int,
    next_total: int,
) -> AttentionGrid:
    """Plan the cells of rows with these lengths.

    `places` (tokens,) are the tokens' places within their rows; T becomes `total`, or `next_total` where a filler is
    needed and `total` has room for none.
    """
    rows, tokens = len(lengths), len(places)
    row_of = np.repeat(np.arange(rows), lengths)
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
        total = tokens if tokens == rows * width else next_total
        cell_of, token_of = _place_in_grid(row_of * width + places, rows, width, total)
        allowed = (np.arange(width)[None, :] < lengths[:, None])[:, None]
    attention_dtype = torch.float32 if dtype == torch.bfloat16 and width <= _WIDEST_IN_FLOAT32 else dtype
    mask = pooled_mask = None
    if joint:
        mask = _mask_of(allowed[None], attention_dtype)
        pooled_mask = _mask_of(allowed[None, np.flatnonzero(places == 0)], attention_dtype)
    elif not allowed.all():
        mask = pooled_mask = _mask_of(np.repeat(allowed, heads, axis=0), attention_dtype)
    return AttentionGrid(heads, token_of, cell_of, mask, pooled_mask, attention_dtype)


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


def _mask_of(allowed: NDArray[np.bool_], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.where(allowed, np.float32(0.0), np.float32("-inf"))).to(dtype)
