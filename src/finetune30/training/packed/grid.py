"""Where attention with PyTorch's operators finds its tokens: (groups * heads, width, head size), one token a cell.

    joint   few tokens: one group of all of them, a block-diagonal mask keeps the rows apart
    grid    else: rows are the groups, as wide as the longest and a multiple of 16 (the softmax is several times
            slower on other widths)

Fillers lie in empty cells and empty cells show a filler, so both moves are one gathering of head-sized pieces. On the
way back this adds nothing: the gradients of fillers and of empty cells are zero. Tokens that are asked for have no
fillers, and cells of their own; where some of those are empty, they show a row of zeros.
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
class Cells:
    """The cells of some tokens (N,).

    Shapes: token_of int64 (groups, width) the token of each cell, N where it shows zeros; cell_of int64 (N,) the cell
    of each token.
    """

    heads: int
    token_of: NDArray[np.int64]
    cell_of: NDArray[np.int64]
    shows_zeros: bool = False

    def to_heads(self, tokens: Tensor) -> Tensor:
        """Return tokens (N, hidden) as (groups * heads, width, size)."""
        if self.shows_zeros:
            tokens = torch.cat([tokens, tokens.new_zeros(1, tokens.shape[1])])
        pieces = tokens.reshape(len(tokens) * self.heads, -1).index_select(0, self._pieces_of_cells)
        groups, width = self.token_of.shape
        return pieces.view(groups * self.heads, width, -1)

    def from_heads(self, cells: Tensor) -> Tensor:
        """Return cells (groups * heads, width, size) as (N, hidden)."""
        pieces = cells.view(-1, cells.shape[-1]).index_select(0, self._pieces_of_tokens)
        return pieces.view(len(self.cell_of), -1)

    # Which pieces to gather is the same in all layers, so it is kept.

    @cached_property
    def _pieces_of_cells(self) -> Tensor:
        head = np.arange(self.heads)[None, :, None]
        return torch.from_numpy((self.token_of[:, None, :] * self.heads + head).reshape(-1))

    @cached_property
    def _pieces_of_tokens(self) -> Tensor:
        width = self.token_of.shape[1]
        group, place = np.divmod(self.cell_of, width)
        matrix = group[:, None] * self.heads + np.arange(self.heads)
        return torch.from_numpy((matrix * width + place[:, None]).reshape(-1))


@dataclass(frozen=True)
class AttentionGrid:
    """Cells of attention: of all tokens with fillers (T,), and of the tokens that are asked for (Q,).

    `mask` (queries of all tokens) and `asking_mask` (queries of asking tokens) hold 0 and -inf and are added to scores
    (groups * heads, queries, width).
    """

    tokens: Cells
    asking: Cells
    mask: Tensor | None
    asking_mask: Tensor | None
    dtype: torch.dtype


def build_grid(
    lengths: NDArray[np.int64],
    places: NDArray[np.int64],
    asking: NDArray[np.int64],
    asking_counts: NDArray[np.int64],
    heads: int,
    dtype: torch.dtype,
    *,
    total: int,
    next_total: int,
) -> AttentionGrid:
    """Plan the cells of rows with these lengths.

    `places` (tokens,) are the tokens' places within their rows, `asking` and `asking_counts` as in the layout; T
    becomes `total`, or `next_total` where a filler is needed and `total` has room for none.
    """
    rows, tokens = len(lengths), len(places)
    row_of = np.repeat(np.arange(rows), lengths)
    mask = asking_mask = None
    if total <= _JOINT_TOKENS:
        width = total
        cells, asking_cells = (Cells(heads, np.arange(count)[None], np.arange(count)) for count in (total, len(asking)))
        row_of = np.concatenate([row_of, np.full(total - tokens, rows)])
        allowed = row_of[:, None] == row_of[None, :]
        attention_dtype = _attention_dtype(dtype, width)
        mask, asking_mask = _mask_of(allowed[None], attention_dtype), _mask_of(allowed[None, asking], attention_dtype)
    else:
        width = -(-int(lengths.max()) // _GRID_STEP) * _GRID_STEP
        # Empty cells show a filler: there is at least one, unless no cell is empty.
        total = tokens if tokens == rows * width else next_total
        cells = _place_in_grid(row_of * width + places, rows, width, heads, total)
        asking_cells = _place_asking(asking_counts, heads)
        allowed = (np.arange(width)[None, :] < lengths[:, None])[:, None]
        attention_dtype = _attention_dtype(dtype, width)
        if not allowed.all():
            mask = asking_mask = _mask_of(np.repeat(allowed, heads, axis=0), attention_dtype)
    return AttentionGrid(cells, asking_cells, mask, asking_mask, attention_dtype)


def _attention_dtype(dtype: torch.dtype, width: int) -> torch.dtype:
    return torch.float32 if dtype == torch.bfloat16 and width <= _WIDEST_IN_FLOAT32 else dtype


def _place_in_grid(cells: NDArray[np.int64], rows: int, width: int, heads: int, total: int) -> Cells:
    """Place tokens in these cells of a grid (rows, width), and the fillers up to `total` in an empty one."""
    tokens = len(cells)
    token_of = np.full(rows * width, total - 1, dtype=np.int64)
    token_of[cells] = np.arange(tokens)
    cell_of = np.empty(total, dtype=np.int64)
    cell_of[:tokens] = cells
    if total > tokens:
        cell_of[tokens:] = np.flatnonzero(token_of == total - 1)[0]
    return Cells(heads, token_of.reshape(rows, width), cell_of)


def _place_asking(counts: NDArray[np.int64], heads: int) -> Cells:
    """Place the tokens that are asked for, each row's in a group, as wide as the largest."""
    rows, width, asking = len(counts), int(counts.max()), int(counts.sum())
    cell_of = np.flatnonzero(np.arange(width)[None, :] < counts[:, None])
    token_of = np.full(rows * width, asking, dtype=np.int64)
    token_of[cell_of] = np.arange(asking)
    return Cells(heads, token_of.reshape(rows, width), cell_of, shows_zeros=asking < rows * width)


def _mask_of(allowed: NDArray[np.bool_], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.where(allowed, np.float32(0.0), np.float32("-inf"))).to(dtype)
