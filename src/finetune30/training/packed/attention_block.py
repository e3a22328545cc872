"""The first half of an encoder layer: attention, output layer, residual and norm.

`SelfAttentionBlock` answers for every token. `PooledAttentionBlock` is the last layer's: the classifier reads only the
first token of each row, so only that token asks, and everything after attention works on B rows instead of T.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from finetune30.training.packed.attention import Attention
from finetune30.training.packed.dropout import MaskSource
from finetune30.training.packed.layout import PackedLayout
from finetune30.training.packed.linear import FrozenLinear
from finetune30.training.packed.lora import LoraGroup
from finetune30.training.packed.norm import ResidualNorm


class OutputTape(NamedTuple):
    """What the backward pass needs of the output layer: the tapes of its parts."""

    lora: Any
    norm: Any


@dataclass(frozen=True)
class AttentionOutput:
    """norm(x + dropout(linear(context))); DistilBERT has no dropout here (0)."""

    linear: FrozenLinear
    lora: LoraGroup
    norm: ResidualNorm

    def forward(self, context: Tensor, rows: Tensor, masks: MaskSource | None) -> tuple[Tensor, OutputTape]:
        """Return the block's output for context and residual rows, both (Q, hidden)."""
        output = self.linear.forward(context)
        lora = self.lora.forward(context, output, masks)
        normed, norm = self.norm.forward(output, rows, masks)
        return normed, OutputTape(lora, norm)

    def backward(self, gradient: Tensor, tape: OutputTape, *, to_context: bool) -> tuple[Tensor | None, Tensor]:
        """Return the gradients of the context (None unless wanted) and of the residual rows."""
        residual, output = self.norm.backward(gradient, tape.norm)
        context = self.linear.input_gradient(output) if to_context else None
        self.lora.backward(output, tape.lora, context)
        return context, residual


class SelfAttentionTape(NamedTuple):
    """What the backward pass needs of one batch."""

    lora: Any
    attention: Any
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
        projected = self.attention.accept(self.linear.forward(rows), layout)
        lora = self.lora.forward(rows, projected, masks)
        context, attention = self.attention.forward(projected, layout, masks)
        result, output = self.output.forward(context.to(rows.dtype), rows, masks)
        return result, SelfAttentionTape(lora, attention, output)

    def backward(self, gradient: Tensor, tape: SelfAttentionTape, layout: PackedLayout) -> Tensor | None:
        """Accumulate LoRA gradients; return the input's gradient, or None when nothing below is trained."""
        wanted = self.trains_below or bool(self.lora)
        context, residual = self.output.backward(gradient, tape.output, to_context=wanted)
        if context is None:
            return None
        projected = self.attention.backward(context, tape.attention, layout)
        below = None
        if self.trains_below:
            below = self.linear.input_gradient(projected.to(residual.dtype)).add_(residual)
        self.lora.backward(projected, tape.lora, below)
        return below


class PooledAttentionTape(NamedTuple):
    """What the backward pass needs of one batch."""

    query_lora: Any
    key_value_lora: Any
    attention: Any
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
        query = self.attention.accept(self.query_linear.forward(pooled), layout)
        query_lora = self.query_lora.forward(pooled, query, masks)
        projected = self.attention.accept(self.key_value_linear.forward(rows), layout)
        key_value_lora = self.key_value_lora.forward(rows, projected, masks)
        context, attention = self.attention.forward_pooled(query, projected, layout, masks)
        result, output = self.output.forward(context.to(rows.dtype), pooled, masks)
        return result, PooledAttentionTape(query_lora, key_value_lora, attention, output)

    def backward(self, gradient: Tensor, tape: PooledAttentionTape, layout: PackedLayout) -> Tensor | None:
        """Accumulate LoRA gradients; return the gradient of rows (T, hidden), or None when nothing below is trained."""
        wanted = self.trains_below or bool(self.query_lora) or bool(self.key_value_lora)
        context, residual = self.output.backward(gradient, tape.output, to_context=wanted)
        if context is None:
            return None
        query, projected = self.attention.backward_pooled(context, tape.attention, layout)
        if not self.trains_below:
            self.query_lora.backward(query, tape.query_lora, None)
            self.key_value_lora.backward(projected, tape.key_value_lora, None)
            return None
        pooled = self.query_linear.input_gradient(query.to(residual.dtype)).add_(residual)
        self.query_lora.backward(query, tape.query_lora, pooled)
        below = self.key_value_linear.input_gradient(projected.to(residual.dtype))
        self.key_value_lora.backward(projected, tape.key_value_lora, below)
        return below.index_add_(0, layout.first, pooled)
