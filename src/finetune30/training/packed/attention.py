"""Attention within rows of packed tokens, forwards and backwards (Vaswani et al. 2017, section 3.2.1).

The factor 1 / sqrt(head size) is part of the queries' frozen weights and LoRA scales: see `query_scale`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from finetune30.training.packed.dropout import MaskSource
from finetune30.training.packed.grid import AttentionGrid
from finetune30.training.packed.layout import PackedLayout


def query_scale(head_size: int) -> float:
    """What queries must be multiplied by before they come to attention."""
    return 1.0 / math.sqrt(head_size)


class Projections(NamedTuple):
    """Queries (Q, hidden), keys and values (T, hidden); Q is T, or B where only the first token of each row asks."""

    query: Tensor
    key: Tensor
    value: Tensor


class Attention(Protocol):
    """Attention of all tokens among their rows, or (pooled) of the first token of each row."""

    def accept(self, projected: Tensor, layout: PackedLayout) -> Tensor:
        """Return a product in the type that attention computes in."""
        ...

    def forward(
        self, given: Projections, layout: PackedLayout, masks: MaskSource | None, *, is_pooled: bool
    ) -> tuple[Tensor, Any]:
        """Return the context (Q, hidden), and a tape."""
        ...

    def backward(self, gradient: Tensor, tape: Any, layout: PackedLayout) -> Projections:
        """Return the gradients of queries, keys and values from that of the context."""
        ...


class GridTape(NamedTuple):
    """What the backward pass needs; query (n, queries, size), key and value (n, width, size), n = groups * heads."""

    query: Tensor
    key: Tensor
    value: Tensor
    probabilities: Tensor
    dropped: Tensor
    mask: Tensor | None
    is_pooled: bool


class GridAttention:
    """See `Attention`; with PyTorch's operators, on a grid of cells."""

    def __init__(self, head_count: int, head_size: int, dropout: float) -> None:
        self._heads, self._size, self._dropout = head_count, head_size, dropout

    def accept(self, projected: Tensor, layout: PackedLayout) -> Tensor:
        """See `Attention.accept`."""
        return projected.to(_grid(layout).dtype)

    def forward(
        self, given: Projections, layout: PackedLayout, masks: MaskSource | None, *, is_pooled: bool
    ) -> tuple[Tensor, GridTape]:
        """See `Attention.forward`."""
        grid = _grid(layout)
        queries = self._to_queries(given.query, grid, is_pooled)
        keys, values = grid.to_heads(given.key), grid.to_heads(given.value)
        padding = grid.pooled_mask if is_pooled else grid.mask
        across = keys.transpose(1, 2)
        scores = torch.bmm(queries, across) if padding is None else torch.baddbmm(padding, queries, across)
        probabilities = torch.softmax(scores, -1)
        mask = None
        if masks is not None:
            mask = masks.draw(tuple(probabilities.shape), self._dropout, probabilities.dtype)
        dropped = probabilities if mask is None else probabilities * mask
        tape = GridTape(queries, keys, values, probabilities, dropped, mask, is_pooled)
        return self._from_queries(torch.bmm(dropped, values), grid, is_pooled), tape

    def backward(self, gradient: Tensor, tape: GridTape, layout: PackedLayout) -> Projections:
        """See `Attention.backward`."""
        grid = _grid(layout)
        cells = self._to_queries(gradient.to(grid.dtype), grid, tape.is_pooled)
        value = torch.bmm(tape.dropped.transpose(1, 2), cells)
        probabilities = torch.bmm(cells, tape.value.transpose(1, 2))
        if tape.mask is not None:
            probabilities.mul_(tape.mask)
        scores: Tensor = torch.ops.aten._softmax_backward_data(probabilities, tape.probabilities, -1, cells.dtype)
        query, key = torch.bmm(scores, tape.key), torch.bmm(scores.transpose(1, 2), tape.query)
        return Projections(
            self._from_queries(query, grid, tape.is_pooled), grid.from_heads(key), grid.from_heads(value)
        )

    def _to_queries(self, rows: Tensor, grid: AttentionGrid, is_pooled: bool) -> Tensor:
        """Return what belongs to queries, (Q, hidden), as contiguous (groups * heads, queries of a group, size)."""
        if not is_pooled:
            return grid.to_heads(rows)
        split = rows.view(grid.groups, -1, self._heads, self._size).transpose(1, 2)
        return split.reshape(grid.groups * self._heads, -1, self._size)

    def _from_queries(self, cells: Tensor, grid: AttentionGrid, is_pooled: bool) -> Tensor:
        """Undo `_to_queries`."""
        if not is_pooled:
            return grid.from_heads(cells)
        merged = cells.view(grid.groups, self._heads, -1, self._size).transpose(1, 2)
        return merged.reshape(-1, self._heads * self._size)


def _grid(layout: PackedLayout) -> AttentionGrid:
    assert layout.grid is not None  # noqa: S101 - whoever takes this attention asks for a layout with a grid
    return layout.grid
