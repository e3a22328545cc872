"""The layer of BERT and its descendants, which norms after each half (post-norm, Vaswani et al. 2017, section 3.1).

First attention, its output layer, residual and norm; then two linear layers, residual and norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from finetune30.training.packed.layout import PackedLayout
from finetune30.training.packed.parts.activation import Activation
from finetune30.training.packed.parts.attention import Attention, Projections
from finetune30.training.packed.parts.dropout import MaskSource
from finetune30.training.packed.parts.linear import FrozenLinear
from finetune30.training.packed.parts.lora import LoraGroup
from finetune30.training.packed.parts.norm import ResidualNorm


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


class AttentionTape(NamedTuple):
    """What the backward pass needs of one batch: the tapes of the block's parts, and the type of what was projected."""

    query_lora: Any
    lora: Any
    attention: Any
    output: OutputTape
    dtype: torch.dtype


@dataclass(frozen=True)
class Projection:
    """Layers that share an input, as one product whose results lie side by side, and their LoRA."""

    linear: FrozenLinear
    lora: LoraGroup


@dataclass(frozen=True)
class AttentionBlock:
    """Query, key and value, attention and its output.

    Every token asks, and one `projection` makes all three of it. In the encoder's last layer only those ask whose
    outputs are asked for, since the head reads no others: there the projection makes key and value, `asking` makes
    their queries, and everything after attention works on Q rows instead of T.
    """

    projection: Projection
    asking: Projection | None
    attention: Attention
    output: AttentionOutput
    trains_below: bool

    def forward(self, rows: Tensor, layout: PackedLayout, masks: MaskSource | None) -> tuple[Tensor, AttentionTape]:
        """Return the block's output (Q, hidden) for rows (T, hidden)."""
        residual, query, query_lora = rows, None, None
        if self.asking is not None:
            residual = rows.index_select(0, layout.asking)
            query, query_lora = self._project(self.asking, residual, layout, masks)
        projected, lora = self._project(self.projection, rows, layout, masks)
        given = _side_by_side(query, projected)
        context, attention = self.attention.forward(given, layout, masks, only_asking=query is not None)
        result, output = self.output.forward(context.to(rows.dtype), residual, masks)
        return result, AttentionTape(query_lora, lora, attention, output, projected.dtype)

    def _project(
        self, projection: Projection, rows: Tensor, layout: PackedLayout, masks: MaskSource | None
    ) -> tuple[Tensor, Any]:
        projected = self.attention.accept(projection.linear.forward(rows), layout)
        return projected, projection.lora.forward(rows, projected, masks)

    def backward(self, gradient: Tensor, tape: AttentionTape, layout: PackedLayout) -> Tensor | None:
        """Accumulate LoRA gradients; return the gradient of rows (T, hidden), or None when nothing below is trained."""
        query_lora = self.asking is not None and bool(self.asking.lora)
        wanted = self.trains_below or query_lora or bool(self.projection.lora)
        context, residual = self.output.backward(gradient, tape.output, to_context=wanted)
        if context is None:
            return None
        hidden = context.shape[1]
        if self.asking is None:
            projected = context.new_empty(layout.total, 3 * hidden, dtype=tape.dtype)
            self.attention.backward(context, tape.attention, layout, _side_by_side(None, projected))
            return self._below(self.projection, projected, tape.lora, residual, onto=residual)
        query = torch.empty_like(context, dtype=tape.dtype)
        projected = context.new_empty(layout.total, 2 * hidden, dtype=tape.dtype)
        self.attention.backward(context, tape.attention, layout, _side_by_side(query, projected))
        asking = self._below(self.asking, query, tape.query_lora, residual, onto=residual)
        below = self._below(self.projection, projected, tape.lora, residual)
        if below is not None and asking is not None:
            below.index_add_(0, layout.asking, asking)
        return below

    def _below(
        self, projection: Projection, gradient: Tensor, lora: Any, residual: Tensor, *, onto: Tensor | None = None
    ) -> Tensor | None:
        below = None
        if self.trains_below:
            below = projection.linear.input_gradient(gradient.to(residual.dtype), onto=onto)
        projection.lora.backward(gradient, lora, below)
        return below


def _side_by_side(query: Tensor | None, projected: Tensor) -> Projections:
    """Return views of what was projected together: the keys and values of a query, or all three."""
    if query is None:
        return Projections(*projected.chunk(3, dim=1))
    return Projections(query, *projected.chunk(2, dim=1))


class FeedForwardTape(NamedTuple):
    """What the backward pass needs of one batch: the tapes of the block's parts."""

    lora_in: Any
    lora_out: Any
    derivative: Tensor
    norm: Any


@dataclass(frozen=True)
class FeedForward:
    """norm(x + dropout(out(activation(in(x))))), as in BERT; on any rows (T, hidden)."""

    linear_in: FrozenLinear
    linear_out: FrozenLinear
    lora_in: LoraGroup
    lora_out: LoraGroup
    activation: Activation
    norm: ResidualNorm
    trains_below: bool

    def forward(
        self, rows: Tensor, masks: MaskSource | None, *, keeps_tape: bool = True
    ) -> tuple[Tensor, FeedForwardTape]:
        """Return the block's output and its tape; one that is not kept cannot be used, but takes less memory."""
        inner = self.linear_in.forward(rows)
        lora_in = self.lora_in.forward(rows, inner, masks)
        active, derivative = self.activation.forward(inner, keeps_derivative=keeps_tape)
        output = self.linear_out.forward(active)
        lora_out = self.lora_out.forward(active, output, masks)
        normed, norm = self.norm.forward(output, rows, masks)
        return normed, FeedForwardTape(lora_in, lora_out, derivative, norm)

    def backward(self, gradient: Tensor, tape: FeedForwardTape) -> Tensor | None:
        """Accumulate LoRA gradients; return the input's gradient, or None when nothing below is trained."""
        residual, output = self.norm.backward(gradient, tape.norm)
        if not (self.trains_below or self.lora_in):
            self.lora_out.backward(output, tape.lora_out, None)
            return None
        if self.lora_out:
            active = self.linear_out.input_gradient(output)
            self.lora_out.backward(output, tape.lora_out, active)
            inner = active.mul_(tape.derivative)
        else:
            inner = self.linear_out.input_gradient(output, factor=tape.derivative)
        if not self.trains_below:
            self.lora_in.backward(inner, tape.lora_in, None)
            return None
        below = self.linear_in.input_gradient(inner, onto=residual)
        self.lora_in.backward(inner, tape.lora_in, below)
        return below


class LayerTape(NamedTuple):
    """What the backward pass needs of one layer."""

    attention: AttentionTape
    feed_forward: FeedForwardTape


@dataclass(frozen=True)
class EncoderLayer:
    """One layer; the encoder's last one returns only the tokens whose outputs are asked for."""

    attention: AttentionBlock
    feed_forward: FeedForward

    def forward(
        self, rows: Tensor, layout: PackedLayout, masks: MaskSource | None, *, keeps_tape: bool
    ) -> tuple[Tensor, LayerTape]:
        """Return the layer's output for rows (T, hidden), and its tape."""
        attended, attention = self.attention.forward(rows, layout, masks)
        result, feed_forward = self.feed_forward.forward(attended, masks, keeps_tape=keeps_tape)
        return result, LayerTape(attention, feed_forward)

    def backward(self, gradient: Tensor, tape: LayerTape, layout: PackedLayout) -> Tensor | None:
        """Accumulate LoRA gradients; return the input's gradient, or None when nothing below is trained."""
        attended = self.feed_forward.backward(gradient, tape.feed_forward)
        if attended is None:
            return None
        return self.attention.backward(attended, tape.attention, layout)
