"""How the tokens of a batch lie in memory: packed one row after the other, without padding.

Everything but attention works on tokens, (T, hidden). Attention needs (groups, heads, width, head size), and gets it
in the cheapest of three ways:

    uniform   all rows are equally long: a view, nothing to mask
    joint     few tokens: one group of all tokens, a block-diagonal mask keeps the rows apart
    padded    else: rows are scattered into a grid as wide as the longest, the rest is masked

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

#: Joint attention computes scores between rows that are masked away: so many for each one needed are still cheaper
#: than scattering into a grid; so many in all cost nothing; and beyond so many tokens it is never tried.
_JOINT_WASTE = 16
_JOINT_FREE = 32 * 32
_JOINT_TOKENS = 192


@dataclass(frozen=True)
class PackedLayout:
    """The layout of one batch.

    Shapes: first int64 (B,) the token that starts each row; positions int64 (T,) within the row; mask of 0 and -inf,
    broadcastable to (groups, heads, width, width), or None; scatter int64 (real tokens,) grid cells, or None when the
    packed order is the grid's.
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

    @property
    def pooled_groups(self) -> tuple[int, int]:
        """Groups and queries in each, when only every row's first token asks."""
        return (self.groups, self.row_count // self.groups)

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
        tokens[: self.token_count] = grid.index_select(0, self.scatter)
        return tokens


def build_layout(lengths: NDArray[np.int64], dtype: torch.dtype) -> PackedLayout:
    """Plan a batch of rows with these lengths (tokens, each at least 1)."""
    rows, longest, tokens = len(lengths), int(lengths.max()), int(lengths.sum())
    starts = np.zeros(rows, dtype=np.int64)
    np.cumsum(lengths[:-1], out=starts[1:])
    total = _rounded_up(tokens)
    row_of = np.repeat(np.arange(rows), lengths)
    positions = np.zeros(total, dtype=np.int64)
    positions[:tokens] = np.arange(tokens) - starts[row_of]
    first = torch.from_numpy(starts)
    mask = pooled_mask = scatter = None
    if rows * longest == tokens == total:
        groups, width = rows, longest
    elif total <= _JOINT_TOKENS and total * total <= _JOINT_WASTE * rows * longest * longest + _JOINT_FREE:
        groups, width = 1, total
        row_of = np.concatenate([row_of, np.full(total - tokens, rows)])
        mask = _mask_of(row_of[:, None] == row_of[None, :], dtype)[None, None]
        pooled_mask = mask[:, :, first]
    else:
        groups, width = rows, _rounded_up(longest)
        mask = pooled_mask = _mask_of(np.arange(width)[None, :] < lengths[:, None], dtype)[:, None, None]
        scatter = torch.from_numpy(row_of * width + positions[:tokens])
    return PackedLayout(
        row_count=rows,
        token_count=tokens,
        total=total,
        groups=groups,
        width=width,
        first=first,
        positions=torch.from_numpy(positions),
        mask=mask,
        pooled_mask=pooled_mask,
        scatter=scatter,
    )


def _rounded_up(tokens: int) -> int:
    """Round to a sixteenth or better: at most 6 % of filler, a few dozen different sizes in all."""
    step = max(4, 1 << max(0, math.ceil(math.log2(tokens)) - 4))
    return -(-tokens // step) * step


def _mask_of(allowed: NDArray[np.bool_], dtype: torch.dtype) -> Tensor:
    return torch.where(torch.from_numpy(allowed), 0.0, float("-inf")).to(dtype)
