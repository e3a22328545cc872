"""The first half of an encoder layer: attention, output layer, residual and norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from finetune30.training.packed.attention import Attention, Projections
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
        lora = self.lora.forward(context, (output,), masks)
        normed, norm = self.norm.forward(output, rows, masks)
        return normed, OutputTape(lora, norm)

    def backward(self, gradient: Tensor, tape: OutputTape, *, to_context: bool) -> tuple[Tensor | None, Tensor]:
        """Return the gradients of the context (None unless wanted) and of the residual rows."""
        residual, output = self.norm.backward(gradient, tape.norm)
        context = self.linear.input_gradient(output) if to_context else None
        self.lora.backward((output,), tape.lora, context)
        return context, residual


class AttentionTape(NamedTuple):
    """What the backward pass needs of one batch."""

    query_lora: Any
    key_value_lora: Any
    attention: Any
    output: OutputTape


@dataclass(frozen=True)
class AttentionBlock:
    """Query, key and value, attention and its output.

    Every token asks. In the encoder's last layer (`is_pooled`) only the first token of each row does, since the
    classifier reads no other: there everything after attention works on Q = B rows instead of T.
    """

    query: FrozenLinear
    key: FrozenLinear
    value: FrozenLinear
    query_lora: LoraGroup
    key_value_lora: LoraGroup
    attention: Attention
    output: AttentionOutput
    trains_below: bool
    is_pooled: bool

    def forward(self, rows: Tensor, layout: PackedLayout, masks: MaskSource | None) -> tuple[Tensor, AttentionTape]:
        """Return the block's output (Q, hidden) for rows (T, hidden)."""
        asking = rows.index_select(0, layout.first) if self.is_pooled else rows
        accept = self.attention.accept
        query = accept(self.query.forward(asking), layout)
        query_lora = self.query_lora.forward(asking, (query,), masks)
        key, value = accept(self.key.forward(rows), layout), accept(self.value.forward(rows), layout)
        key_value_lora = self.key_value_lora.forward(rows, (key, value), masks)
        given = Projections(query, key, value)
        context, attention = self.attention.forward(given, layout, masks, is_pooled=self.is_pooled)
        result, output = self.output.forward(context.to(rows.dtype), asking, masks)
        return result, AttentionTape(query_lora, key_value_lora, attention, output)

    def backward(self, gradient: Tensor, tape: AttentionTape, layout: PackedLayout) -> Tensor | None:
        """Accumulate LoRA gradients; return the gradient of rows (T, hidden), or None when nothing below is trained."""
        wanted = self.trains_below or bool(self.query_lora) or bool(self.key_value_lora)
        context, residual = self.output.backward(gradient, tape.output, to_context=wanted)
        if context is None:
            return None
        query, key, value = self.attention.backward(context, tape.attention, layout)
        below = asking = None
        if self.trains_below:
            asking = self.query.input_gradient(query.to(residual.dtype), onto=residual)
            below = self.key.input_gradient(key.to(residual.dtype), onto=None if self.is_pooled else asking)
            below = self.value.input_gradient(value.to(residual.dtype), onto=below)
        self.query_lora.backward((query,), tape.query_lora, asking if self.is_pooled else below)
        self.key_value_lora.backward((key, value), tape.key_value_lora, below)
        if self.is_pooled and below is not None and asking is not None:
            below.index_add_(0, layout.first, asking)
        return below
