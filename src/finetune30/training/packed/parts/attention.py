"""Attention within rows of packed tokens, forwards and backwards (Vaswani et al. 2017, section 3.2.1).

The factor 1 / sqrt(head size) is part of the queries' frozen weights and LoRA scales: see `query_scale`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from finetune30.training.packed.grid import AttentionGrid, Cells
from finetune30.training.packed.layout import PackedLayout
from finetune30.training.packed.parts.dropout import MaskSource


def query_scale(head_size: int) -> float:
    """What queries must be multiplied by before they come to attention."""
    return 1.0 / math.sqrt(head_size)


class Projections(NamedTuple):
    """Queries (Q, hidden), keys and values (T, hidden); Q is T, or fewer where not every token asks.

    They may be columns of a wider tensor, keys and values of the same.
    """

    query: Tensor
    key: Tensor
    value: Tensor


class Attention(Protocol):
    """Attention within rows: of all their tokens, or (`only_asking`) of those whose outputs are asked for."""

    def accept(self, projected: Tensor, layout: PackedLayout) -> Tensor:
        """Return a product in the type that attention computes in."""
        ...

    def forward(
        self, given: Projections, layout: PackedLayout, masks: MaskSource | None, *, only_asking: bool
    ) -> tuple[Tensor, Any]:
        """Return the context (Q, hidden), and a tape."""
        ...

    def backward(self, gradient: Tensor, tape: Any, layout: PackedLayout, into: Projections) -> None:
        """Write the gradients of queries, keys and values `into` tensors that lie as they do, from the context's."""
        ...


class GridTape(NamedTuple):
    """What the backward pass needs; query (n, queries, size), key and value (n, width, size), n = groups * heads."""

    query: Tensor
    key: Tensor
    value: Tensor
    probabilities: Tensor
    dropped: Tensor
    mask: Tensor | None
    asking: Cells


class GridAttention:
    """See `Attention`; with PyTorch's operators, on a grid of cells."""

    def __init__(self, dropout: float) -> None:
        self._dropout = dropout

    def accept(self, projected: Tensor, layout: PackedLayout) -> Tensor:
        """See `Attention.accept`."""
        return projected.to(_grid(layout).dtype)

    def forward(
        self, given: Projections, layout: PackedLayout, masks: MaskSource | None, *, only_asking: bool
    ) -> tuple[Tensor, GridTape]:
        """See `Attention.forward`."""
        grid = _grid(layout)
        asking, padding = (grid.asking, grid.asking_mask) if only_asking else (grid.tokens, grid.mask)
        queries = asking.to_heads(given.query)
        keys, values = grid.tokens.to_heads(given.key), grid.tokens.to_heads(given.value)
        across = keys.transpose(1, 2)
        scores = torch.bmm(queries, across) if padding is None else torch.baddbmm(padding, queries, across)
        probabilities = torch.softmax(scores, -1)
        mask = None
        if masks is not None:
            mask = masks.draw(tuple(probabilities.shape), self._dropout, probabilities.dtype)
        dropped = probabilities if mask is None else probabilities * mask
        tape = GridTape(queries, keys, values, probabilities, dropped, mask, asking)
        return asking.from_heads(torch.bmm(dropped, values)), tape

    def backward(self, gradient: Tensor, tape: GridTape, layout: PackedLayout, into: Projections) -> None:
        """See `Attention.backward`."""
        grid = _grid(layout)
        cells = tape.asking.to_heads(gradient.to(grid.dtype))
        value = torch.bmm(tape.dropped.transpose(1, 2), cells)
        probabilities = torch.bmm(cells, tape.value.transpose(1, 2))
        if tape.mask is not None:
            probabilities.mul_(tape.mask)
        scores: Tensor = torch.ops.aten._softmax_backward_data(probabilities, tape.probabilities, -1, cells.dtype)
        query, key = torch.bmm(scores, tape.key), torch.bmm(scores.transpose(1, 2), tape.query)
        into.query.copy_(tape.asking.from_heads(query))
        into.key.copy_(grid.tokens.from_heads(key))
        into.value.copy_(grid.tokens.from_heads(value))


def _grid(layout: PackedLayout) -> AttentionGrid:
    assert layout.grid is not None  # noqa: S101 - whoever takes this attention asks for a layout with a grid
    return layout.grid
