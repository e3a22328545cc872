"""The layer of Llama and its relatives, which norms before each half (pre-norm, Touvron et al. 2023, section 2.2).

First the norm, causal attention with rotary positions, its output layer and residual; then the norm, a gated pair of
linear layers, a third one and residual. Layers that share an input are one product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from finetune30.training.packed.key_values import KeptTokens
from finetune30.training.packed.layout import PackedLayout
from finetune30.training.packed.parts.attention import Projections
from finetune30.training.packed.parts.causal_attention import CausalAttention
from finetune30.training.packed.parts.dropout import MaskSource
from finetune30.training.packed.parts.gate import Gate
from finetune30.training.packed.parts.linear import FrozenLinear
from finetune30.training.packed.parts.lora import LoraGroup
from finetune30.training.packed.parts.rms_norm import RmsNorm
from finetune30.training.packed.parts.rotary import Rotary


@dataclass(frozen=True)
class TokenEmbeddings:
    """The row of a frozen table (vocabulary, hidden) for each token; nothing is dropped out.

    `look_up` gives rows (T, hidden) for token ids (T,), wherever the table lies.
    """

    look_up: Callable[[Tensor], Tensor]
    dropout: float = 0.0

    def forward(self, ids: Tensor, types: Tensor | None, layout: PackedLayout) -> Tensor:
        """Return the embeddings (T, hidden) of token ids (T,)."""
        return self.look_up(ids)


class PositionTape(NamedTuple):
    """What the backward pass needs of heads that were normed: what was given, and the norm's tape."""

    heads: Tensor
    norm: Any


@dataclass(frozen=True)
class PositionedHeads:
    """Queries or keys on their way to attention: each head normed (Qwen3) or not (None), then turned."""

    size: int
    norm: RmsNorm | None
    rotary: Rotary

    def forward(self, projected: Tensor, layout: PackedLayout) -> tuple[Tensor, PositionTape | None]:
        """Return the heads of projected (T, heads * size), and a tape; may overwrite the argument."""
        heads = projected.view(projected.shape[0], -1, self.size)
        tape = None
        if self.norm is not None:
            normed, norm = self.norm.forward(heads)
            tape = PositionTape(heads, norm)
            heads = normed
        self.rotary.turn(heads, layout)
        return (projected if tape is None else heads.flatten(1)), tape

    def backward(self, gradient: Tensor, tape: PositionTape | None, layout: PackedLayout) -> None:
        """Turn the gradient (T, heads * size) of what was returned into that of what was given, in place."""
        heads = gradient.view(gradient.shape[0], -1, self.size)
        self.rotary.turn_back(heads, layout)
        if tape is not None and self.norm is not None:
            heads.copy_(self.norm.backward(heads, tape.heads, tape.norm))


class AttentionTape(NamedTuple):
    """What the backward pass needs of one batch: the block's input (T, hidden), and the tapes of its parts."""

    rows: Tensor
    norm: Any
    lora: Any
    query: PositionTape | None
    key: PositionTape | None
    attention: Any
    output_lora: Any


@dataclass(frozen=True)
class CausalAttentionBlock:
    """x + output(attention(norm(x))).

    `projection` makes queries, keys and values, of these `widths`, side by side. In the last layer (`only_asking`)
    everything after attention works on the tokens whose outputs are asked for, Q instead of T.
    """

    norm: RmsNorm
    projection: FrozenLinear
    lora: LoraGroup
    widths: tuple[int, int, int]
    query: PositionedHeads
    key: PositionedHeads
    attention: CausalAttention
    output: FrozenLinear
    output_lora: LoraGroup
    trains_below: bool
    only_asking: bool

    def forward(
        self, rows: Tensor, layout: PackedLayout, masks: MaskSource | None, kept: KeptTokens | None = None
    ) -> tuple[Tensor, AttentionTape]:
        """Return the block's output (Q, hidden) for rows (T, hidden), which go on from `kept` tokens or begin anew."""
        normed, norm = self.norm.forward(rows)
        projected = self.projection.forward(normed)
        lora = self.lora.forward(normed, projected, masks)
        query, key, value = projected.split(self.widths, dim=1)
        query, query_tape = self.query.forward(query, layout)
        key, key_tape = self.key.forward(key, layout)
        context, attention = self._attend(Projections(query, key, value), layout, kept)
        residual = rows
        if self.only_asking:
            context, residual = context.index_select(0, layout.asking), rows.index_select(0, layout.asking)
        output = self.output.forward(context)
        output_lora = self.output_lora.forward(context, output, masks)
        tape = AttentionTape(rows, norm, lora, query_tape, key_tape, attention, output_lora)
        return output.add_(residual), tape

    def _attend(self, given: Projections, layout: PackedLayout, kept: KeptTokens | None) -> tuple[Tensor, Any]:
        if kept is None:
            return self.attention.forward(given, layout)
        return self.attention.look_back(given, layout, kept), None

    def backward(self, gradient: Tensor, tape: AttentionTape, layout: PackedLayout) -> Tensor | None:
        """Accumulate LoRA gradients; return the gradient of rows (T, hidden), or None when nothing below is trained."""
        if not (self.trains_below or self.lora):
            self.output_lora.backward(gradient, tape.output_lora, None)
            return None
        context = self.output.input_gradient(gradient)
        self.output_lora.backward(gradient, tape.output_lora, context)
        if self.only_asking:
            context, gradient = (self._among_all(tensor, layout) for tensor in (context, gradient))
        projected = gradient.new_empty(len(gradient), sum(self.widths))
        parts = projected.split(self.widths, dim=1)
        self.attention.backward(context, tape.attention, layout, Projections(*parts))
        self.query.backward(parts[0], tape.query, layout)
        self.key.backward(parts[1], tape.key, layout)
        if not self.trains_below:
            self.lora.backward(projected, tape.lora, None)
            return None
        normed = self.projection.input_gradient(projected)
        self.lora.backward(projected, tape.lora, normed)
        return self.norm.backward(normed, tape.rows, tape.norm, onto=gradient)

    def _among_all(self, asked: Tensor, layout: PackedLayout) -> Tensor:
        """Return the gradient of all tokens (T, width), zero for those that were not asked for."""
        return asked.new_zeros(layout.total, asked.shape[1]).index_copy_(0, layout.asking, asked)


class FeedForwardTape(NamedTuple):
    """What the backward pass needs: the block's input (T, hidden), gate and up (T, 2 * inner), its parts' tapes."""

    rows: Tensor
    norm: Any
    pair: Tensor
    lora_in: Any
    lora_out: Any


@dataclass(frozen=True)
class GatedFeedForward:
    """x + down(silu(gate(norm(x))) * up(norm(x))); `linear_in` makes gate and up, side by side."""

    norm: RmsNorm
    linear_in: FrozenLinear
    linear_out: FrozenLinear
    lora_in: LoraGroup
    lora_out: LoraGroup
    gate: Gate
    trains_below: bool

    def forward(self, rows: Tensor, masks: MaskSource | None) -> tuple[Tensor, FeedForwardTape]:
        """Return the block's output for any rows (T, hidden), and its tape."""
        normed, norm = self.norm.forward(rows)
        pair = self.linear_in.forward(normed)
        lora_in = self.lora_in.forward(normed, pair, masks)
        active = self.gate.forward(pair)
        output = self.linear_out.forward(active)
        lora_out = self.lora_out.forward(active, output, masks)
        return output.add_(rows), FeedForwardTape(rows, norm, pair, lora_in, lora_out)

    def backward(self, gradient: Tensor, tape: FeedForwardTape) -> Tensor | None:
        """Accumulate LoRA gradients; return the input's gradient, or None when nothing below is trained."""
        if not (self.trains_below or self.lora_in):
            self.lora_out.backward(gradient, tape.lora_out, None)
            return None
        active = self.linear_out.input_gradient(gradient)
        self.lora_out.backward(gradient, tape.lora_out, active)
        pair = self.gate.backward(active, tape.pair)
        if not self.trains_below:
            self.lora_in.backward(pair, tape.lora_in, None)
            return None
        normed = self.linear_in.input_gradient(pair)
        self.lora_in.backward(pair, tape.lora_in, normed)
        return self.norm.backward(normed, tape.rows, tape.norm, onto=gradient)


class LayerTape(NamedTuple):
    """What the backward pass needs of one layer."""

    attention: AttentionTape
    feed_forward: FeedForwardTape


@dataclass(frozen=True)
class DecoderLayer:
    """One layer; the model's last one returns only the tokens whose outputs are asked for."""

    attention: CausalAttentionBlock
    feed_forward: GatedFeedForward

    def forward(
        self, rows: Tensor, layout: PackedLayout, masks: MaskSource | None, *, keeps_tape: bool
    ) -> tuple[Tensor, LayerTape | None]:
        """Return the layer's output for rows (T, hidden), and its tape, where it is kept."""
        attended, attention = self.attention.forward(rows, layout, masks)
        result, feed_forward = self.feed_forward.forward(attended, masks)
        return result, LayerTape(attention, feed_forward) if keeps_tape else None

    def read(self, rows: Tensor, layout: PackedLayout, kept: KeptTokens) -> Tensor:
        """Return the layer's output for new tokens (T, hidden) of rows of which some are kept."""
        attended, _ = self.attention.forward(rows, layout, None, kept)
        return self.feed_forward.forward(attended, None)[0]

    def backward(self, gradient: Tensor, tape: LayerTape, layout: PackedLayout) -> Tensor | None:
        """Accumulate LoRA gradients; return the input's gradient, or None when nothing below is trained."""
        attended = self.feed_forward.backward(gradient, tape.feed_forward)
        if attended is None:
            return None
        return self.attention.backward(attended, tape.attention, layout)
