"""The first half of an encoder layer: attention, output layer, residual and norm.

`SelfAttentionBlock` answers for every token. `PooledAttentionBlock` is the last layer's: the classifier reads only the
first token of each row, so only that token asks, and everything after attention works on B rows instead of T.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from finetune30.training.packed.attention import Attention, AttentionTape
from finetune30.training.packed.dropout import MaskSource
from finetune30.training.packed.layout import PackedLayout
from finetune30.training.packed.linear import FrozenLinear
from finetune30.training.packed.lora import LoraGroup, LoraTape
from finetune30.training.packed.norm import LayerNorm, NormTape


class OutputTape(NamedTuple):
    """What the backward pass needs of the output layer."""

    lora: LoraTape | None
    mask: Tensor | None
    norm: NormTape


@dataclass(frozen=True)
class AttentionOutput:
    """norm(x + dropout(linear(context))); DistilBERT has no dropout here (0)."""

    linear: FrozenLinear
    lora: LoraGroup
    norm: LayerNorm
    dropout: float

    def forward(self, context: Tensor, rows: Tensor, masks: MaskSource | None) -> tuple[Tensor, OutputTape]:
        """Return the block's output for context and residual rows, both (Q, hidden)."""
        mask = masks.draw(tuple(rows.shape), self.dropout, rows.dtype) if masks is not None else None
        output = self.linear.forward(context)
        lora = self.lora.forward(context, output, masks)
        residual = output.add_(rows) if mask is None else torch.addcmul(rows, output, mask)
        normed, norm = self.norm.forward(residual)
        return normed, OutputTape(lora, mask, norm)

    def backward(self, gradient: Tensor, tape: OutputTape, *, to_context: bool) -> tuple[Tensor | None, Tensor]:
        """Return the gradients of the context (None unless wanted) and of the residual rows."""
        residual = self.norm.backward(gradient, tape.norm)
        output = residual if tape.mask is None else residual * tape.mask
        context = self.linear.input_gradient(output) if to_context else None
        self.lora.backward(output, tape.lora, context)
        return context, residual


class SelfAttentionTape(NamedTuple):
    """What the backward pass needs of one batch."""

    lora: LoraTape | None
    attention: AttentionTape
    output: OutputTape


@dataclass(frozen=True)
class SelfAttentionBlock:
    """Query, key and value of all tokens in one product; `lora` adds to its columns."""

    linear: FrozenLinear
    lora: LoraGroup
    attention: Attention
    output: AttentionOutput
    trains_below: bool

    def forward(self, rows: Tensor, layout: PackedLayout, masks: MaskSource | None) -> tuple[Tensor, SelfAttentionTape]:
        """Return the block's output for rows (T, hidden)."""
        projected = self.linear.forward(rows).to(layout.attention_dtype)
        lora = self.lora.forward(rows, projected, masks)
        query, key, value = layout.to_heads(projected, 3)
        context, attention = self.attention.forward(query, key, value, layout.mask, masks)
        merged = layout.from_heads(context[None]).to(rows.dtype)
        result, output = self.output.forward(merged, rows, masks)
        return result, SelfAttentionTape(lora, attention, output)

    def backward(self, gradient: Tensor, tape: SelfAttentionTape, layout: PackedLayout) -> Tensor | None:
        """Accumulate LoRA gradients; return the input's gradient, or None when nothing below is trained."""
        wanted = self.trains_below or bool(self.lora)
        context, residual = self.output.backward(gradient, tape.output, to_context=wanted)
        if context is None:
            return None
        (cells,) = layout.to_heads(context.to(layout.attention_dtype), 1)
        parts = torch.empty(3, *cells.shape, dtype=cells.dtype)
        self.attention.backward(cells, tape.attention, parts[0], parts[1], parts[2])
        projected = layout.from_heads(parts)
        below = None
        if self.trains_below:
            below = self.linear.input_gradient(projected.to(residual.dtype)).add_(residual)
        self.lora.backward(projected, tape.lora, below)
        return below


class PooledAttentionTape(NamedTuple):
    """What the backward pass needs of one batch."""

    query_lora: LoraTape | None
    key_value_lora: LoraTape | None
    attention: AttentionTape
    output: OutputTape


@dataclass(frozen=True)
class PooledAttentionBlock:
    """Keys and values of all tokens, queries of the first token of each row."""

    query_linear: FrozenLinear
    key_value_linear: FrozenLinear
    query_lora: LoraGroup
    key_value_lora: LoraGroup
    attention: Attention
    output: AttentionOutput
    trains_below: bool

    def forward(
        self, rows: Tensor, layout: PackedLayout, masks: MaskSource | None
    ) -> tuple[Tensor, PooledAttentionTape]:
        """Return the block's output (B, hidden) for rows (T, hidden)."""
        pooled = rows.index_select(0, layout.first)
        projected_query = self.query_linear.forward(pooled).to(layout.attention_dtype)
        query_lora = self.query_lora.forward(pooled, projected_query, masks)
        projected = self.key_value_linear.forward(rows).to(layout.attention_dtype)
        key_value_lora = self.key_value_lora.forward(rows, projected, masks)
        query = self.attention.split(projected_query, layout.groups)
        key, value = layout.to_heads(projected, 2)
        context, attention = self.attention.forward(query, key, value, layout.pooled_mask, masks)
        merged = self.attention.merge(context, layout.groups).to(rows.dtype)
        result, output = self.output.forward(merged, pooled, masks)
        return result, PooledAttentionTape(query_lora, key_value_lora, attention, output)

    def backward(self, gradient: Tensor, tape: PooledAttentionTape, layout: PackedLayout) -> Tensor | None:
        """Accumulate LoRA gradients; return the gradient of rows (T, hidden), or None when nothing below is trained."""
        wanted = self.trains_below or bool(self.query_lora) or bool(self.key_value_lora)
        context, residual = self.output.backward(gradient, tape.output, to_context=wanted)
        if context is None:
            return None
        cells = self.attention.split(context.to(layout.attention_dtype), layout.groups)
        query = torch.empty_like(cells)
        parts = torch.empty(2, *tape.attention.key.shape, dtype=cells.dtype)
        self.attention.backward(cells, tape.attention, query, parts[0], parts[1])
        projected_query = self.attention.merge(query, layout.groups)
        projected = layout.from_heads(parts)
        if not self.trains_below:
            self.query_lora.backward(projected_query, tape.query_lora, None)
            self.key_value_lora.backward(projected, tape.key_value_lora, None)
            return None
        pooled = self.query_linear.input_gradient(projected_query.to(residual.dtype)).add_(residual)
        self.query_lora.backward(projected_query, tape.query_lora, pooled)
        below = self.key_value_linear.input_gradient(projected.to(residual.dtype))
        self.key_value_lora.backward(projected, tape.key_value_lora, below)
        return below.index_add_(0, layout.first, pooled)
