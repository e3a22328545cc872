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


class Attention(Protocol):
    """Attention of all tokens among their rows, or of the first token of each row."""

    def accept(self, projected: Tensor, layout: PackedLayout) -> Tensor:
        """Return a product in the type that attention computes in."""
        ...

    def forward(self, projected: Tensor, layout: PackedLayout, masks: MaskSource | None) -> tuple[Tensor, Any]:
        """Return the context (T, hidden) of projected (T, 3 * hidden: queries, keys, values), and a tape."""
        ...

    def backward(self, gradient: Tensor, tape: Any, layout: PackedLayout) -> Tensor:
        """Return the gradient of projected from that of the context."""
        ...

    def forward_pooled(
        self, query: Tensor, projected: Tensor, layout: PackedLayout, masks: MaskSource | None
    ) -> tuple[Tensor, Any]:
        """Return the context (B, hidden) of queries (B, hidden) and projected (T, 2 * hidden: keys, values)."""
        ...

    def backward_pooled(self, gradient: Tensor, tape: Any, layout: PackedLayout) -> tuple[Tensor, Tensor]:
        """Return the gradients of queries and projected from that of the context."""
        ...


class GridTape(NamedTuple):
    """What the backward pass needs; query (n, queries, size), key and value (n, width, size), n = groups * heads."""

    query: Tensor
    key: Tensor
    value: Tensor
    probabilities: Tensor
    dropped: Tensor
    mask: Tensor | None


class GridAttention:
    """See `Attention`; with PyTorch's operators, on a grid of cells."""

    def __init__(self, head_count: int, head_size: int, dropout: float) -> None:
        self._heads, self._size, self._dropout = head_count, head_size, dropout

    def accept(self, projected: Tensor, layout: PackedLayout) -> Tensor:
        """See `Attention.accept`."""
        return projected.to(_grid(layout).dtype)

    def forward(self, projected: Tensor, layout: PackedLayout, masks: MaskSource | None) -> tuple[Tensor, GridTape]:
        """See `Attention.forward`."""
        grid = _grid(layout)
        query, key, value = grid.to_heads(projected, 3)
        context, tape = self._attend(query, key, value, grid.mask, masks)
        return grid.from_heads(context[None]), tape

    def backward(self, gradient: Tensor, tape: GridTape, layout: PackedLayout) -> Tensor:
        """See `Attention.backward`."""
        grid = _grid(layout)
        (cells,) = grid.to_heads(gradient.to(grid.dtype), 1)
        parts = torch.empty(3, *cells.shape, dtype=cells.dtype)
        self._attend_backward(cells, tape, parts[0], parts[1], parts[2])
        return grid.from_heads(parts)

    def forward_pooled(
        self, query: Tensor, projected: Tensor, layout: PackedLayout, masks: MaskSource | None
    ) -> tuple[Tensor, GridTape]:
        """See `Attention.forward_pooled`."""
        grid = _grid(layout)
        key, value = grid.to_heads(projected, 2)
        context, tape = self._attend(self._split(query, grid.groups), key, value, grid.pooled_mask, masks)
        return self._merge(context, grid.groups), tape

    def backward_pooled(self, gradient: Tensor, tape: GridTape, layout: PackedLayout) -> tuple[Tensor, Tensor]:
        """See `Attention.backward_pooled`."""
        grid = _grid(layout)
        cells = self._split(gradient.to(grid.dtype), grid.groups)
        query = torch.empty_like(cells)
        parts = torch.empty(2, *tape.key.shape, dtype=cells.dtype)
        self._attend_backward(cells, tape, query, parts[0], parts[1])
        return self._merge(query, grid.groups), grid.from_heads(parts)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, masks: MaskSource | None
    ) -> tuple[Tensor, GridTape]:
        """Return the context (groups * heads, queries, size); `padding` is added to the scores."""
        keys = key.transpose(1, 2)
        scores = torch.bmm(query, keys) if padding is None else torch.baddbmm(padding, query, keys)
        probabilities = torch.softmax(scores, -1)
        mask = None
        if masks is not None:
            mask = masks.draw(tuple(probabilities.shape), self._dropout, probabilities.dtype)
        dropped = probabilities if mask is None else probabilities * mask
        return torch.bmm(dropped, value), GridTape(query, key, value, probabilities, dropped, mask)

    def _attend_backward(self, gradient: Tensor, tape: GridTape, query: Tensor, key: Tensor, value: Tensor) -> None:
        """Write the gradients of query, key and value into the given tensors."""
        torch.bmm(tape.dropped.transpose(1, 2), gradient, out=value)
        probabilities = torch.bmm(gradient, tape.value.transpose(1, 2))
        if tape.mask is not None:
            probabilities.mul_(tape.mask)
        scores: Tensor = torch.ops.aten._softmax_backward_data(probabilities, tape.probabilities, -1, gradient.dtype)
        torch.bmm(scores, tape.key, out=query)
        torch.bmm(scores.transpose(1, 2), tape.query, out=key)

    def _split(self, queries: Tensor, groups: int) -> Tensor:
        """Return the first tokens' queries (B, hidden) as contiguous (groups * heads, B / groups, size)."""
        split = queries.view(groups, -1, self._heads, self._size).transpose(1, 2)
        return split.reshape(groups * self._heads, -1, self._size)

    def _merge(self, queries: Tensor, groups: int) -> Tensor:
        """Undo `_split`."""
        merged = queries.view(groups, self._heads, -1, self._size).transpose(1, 2)
        return merged.reshape(-1, self._heads * self._size)


def _grid(layout: PackedLayout) -> AttentionGrid:
    assert layout.grid is not None  # noqa: S101 - whoever takes this attention asks for a layout with a grid
    return layout.grid
