"""Attention on each row as it lies, without empty cells; see `native.memory`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from finetune30.training.packed.layout import PackedLayout, Queries
from finetune30.training.packed.native.library import Kernels
from finetune30.training.packed.native.memory import address, clear_fillers, draw_bytes, sum_type
from finetune30.training.packed.parts.attention import Projections
from finetune30.training.packed.parts.dropout import MaskSource


class NativeAttentionTape(NamedTuple):
    """What the backward pass needs; `queries` tells where the probabilities of each row lie."""

    given: Projections
    probabilities: Tensor
    mask: Tensor | None
    queries: Queries


class NativeAttention:
    """See `Attention`. Contexts and gradients of fillers are zero."""

    def __init__(self, kernels: Kernels, head_count: int, head_size: int, dropout: float) -> None:
        self._kernels, self._heads, self._size = kernels, head_count, head_size
        self._dropout, self._kept = dropout, 1.0 / (1.0 - dropout)

    def accept(self, projected: Tensor, layout: PackedLayout) -> Tensor:
        """See `Attention.accept`."""
        return projected

    def forward(
        self, given: Projections, layout: PackedLayout, masks: MaskSource | None, *, only_asking: bool
    ) -> tuple[Tensor, NativeAttentionTape]:
        """See `Attention.forward`."""
        queries = layout.asking_queries if only_asking else layout.all_queries
        probabilities = torch.empty(queries.cell_count, dtype=sum_type(given.query.dtype))
        tape = NativeAttentionTape(
            given, probabilities, draw_bytes(masks, (queries.cell_count,), self._dropout), queries
        )
        context = given.query.new_empty(given.query.shape)
        clear_fillers(layout, context)
        self._kernels.forward_attention(
            *self._operands(tape, layout),
            probabilities.data_ptr(),
            context.data_ptr(),
            context.stride(0),
            len(layout.lengths),
            self._heads,
            self._size,
        )
        return context, tape

    def backward(self, gradient: Tensor, tape: NativeAttentionTape, layout: PackedLayout, into: Projections) -> None:
        """See `Attention.backward`."""
        clear_fillers(layout, *into)
        self._kernels.backward_attention(
            gradient.data_ptr(),
            gradient.stride(0),
            *self._operands(tape, layout),
            tape.probabilities.data_ptr(),
            *(tensor.data_ptr() for tensor in into),
            len(layout.lengths),
            self._heads,
            self._size,
        )

    def _operands(self, tape: NativeAttentionTape, layout: PackedLayout) -> tuple[int | float | None, ...]:
        """Return the arguments that both directions share: queries, keys, values, places, mask."""
        return (
            tape.given.query.data_ptr(),
            tape.given.query.stride(0),
            tape.given.key.data_ptr(),
            tape.given.value.data_ptr(),
            tape.given.key.stride(0),
            layout.starts.data_ptr(),
            tape.queries.starts.data_ptr(),
            tape.queries.cells.data_ptr(),
            address(tape.mask),
            self._kept,
        )
