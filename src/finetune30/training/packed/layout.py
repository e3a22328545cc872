"""How the tokens of a batch lie in memory: packed one row after the other, without padding.

Everything but attention works on tokens, (T, hidden). Attention needs (groups, heads, width, head size), and gets it
in one of two ways:

    joint   few tokens: one group of all of them, a block-diagonal mask keeps the rows apart
    grid    else: rows stand below each other, as wide as the longest and a multiple of 16 (the softmax is several
            times slower on other widths); when they are all that long, nothing has to be moved

T is rounded up a little with filler tokens, a row of their own that nobody reads: oneDNN prepares code for each
number of rows it meets, and there should be few of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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

    Shapes: first int64 (B,) the token that starts each row; positions int64 (T,) within the row; scatter int64
    (real tokens,) grid cells, or None when the packed order is the grid's. `mask` (queries of all tokens) and
    `pooled_mask` (queries of first tokens) hold 0 and -inf and are added to scores (groups * heads, queries, width).
    """

    row_count: int
    token_count: int
    total: int
    groups: int
    width: int
    first: Tensor
    positions: Tensor
    mask: Tensor | None
    pooled_mask: Tensor | None
    scatter: Tensor | None
    attention_dtype: torch.dtype

    def to_grid(self, tokens: Tensor) -> Tensor:
        """Return tokens (T, n) as (groups * width, n); cells without a token are zero."""
        if self.scatter is None:
            return tokens
        grid = tokens.new_zeros(self.groups * self.width, tokens.shape[1])
        return grid.index_copy_(0, self.scatter, tokens[: self.token_count])

    def from_grid(self, grid: Tensor) -> Tensor:
        """Return the grid's tokens (groups * width, n) as (T, n); fillers are zero."""
        if self.scatter is None:
            return grid
        if self.total == self.token_count:
            return grid.index_select(0, self.scatter)
        tokens = grid.new_zeros(self.total, grid.shape[1])
        torch.index_select(grid, 0, self.scatter, out=tokens[: self.token_count])
        return tokens


def build_layout(lengths: NDArray[np.int64], heads: int, dtype: torch.dtype) -> PackedLayout:
    """Plan a batch of rows with these lengths (tokens, each at least 1)."""
    rows, tokens = len(lengths), int(lengths.sum())
    starts = np.zeros(rows, dtype=np.int64)
    np.cumsum(lengths[:-1], out=starts[1:])
    total = _rounded_up(tokens)
    row_of = np.repeat(np.arange(rows), lengths)
    positions = np.zeros(total, dtype=np.int64)
    positions[:tokens] = np.arange(tokens) - starts[row_of]
    mask = pooled_mask = scatter = None
    if total <= _JOINT_TOKENS:
        groups, width = 1, total
        row_of = np.concatenate([row_of, np.full(total - tokens, rows)])
        allowed = row_of[:, None] == row_of[None, :]
    else:
        groups, width = rows, -(-int(lengths.max()) // _GRID_STEP) * _GRID_STEP
        allowed = (np.arange(width)[None, :] < lengths[:, None])[:, None]
        if not allowed.all() or total != tokens:
            scatter = torch.from_numpy(row_of * width + positions[:tokens])
    attention_dtype = torch.float32 if dtype == torch.bfloat16 and width <= _WIDEST_IN_FLOAT32 else dtype
    if groups == 1 and total <= _JOINT_TOKENS:
        mask = _mask_of(allowed[None], attention_dtype)
        pooled_mask = _mask_of(allowed[None, starts], attention_dtype)
    elif not allowed.all():
        mask = pooled_mask = _mask_of(np.repeat(allowed, heads, axis=0), attention_dtype)
    return PackedLayout(
        row_count=rows,
        token_count=tokens,
        total=total,
        groups=groups,
        width=width,
        first=torch.from_numpy(starts),
        positions=torch.from_numpy(positions),
        mask=mask,
        pooled_mask=pooled_mask,
        scatter=scatter,
        attention_dtype=attention_dtype,
    )


def _rounded_up(tokens: int) -> int:
    """Round to a sixteenth or better: at most 6 % of filler, a few dozen different sizes in all."""
    step = max(4, 1 << max(0, math.ceil(math.log2(tokens)) - 4))
    return -(-tokens // step) * step


def _mask_of(allowed: NDArray[np.bool_], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.where(allowed, np.float32(0.0), np.float32("-inf"))).to(dtype)
