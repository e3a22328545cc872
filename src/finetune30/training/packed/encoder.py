"""The packed encoder: embeddings, layers, and an explicit backward pass down to the lowest trained layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from finetune30.training.packed.attention_block import AttentionBlock, AttentionTape
from finetune30.training.packed.dropout import MaskSource
from finetune30.training.packed.feed_forward import FeedForward, FeedForwardTape
from finetune30.training.packed.layout import PackedLayout


@dataclass(frozen=True)
class Embeddings:
    """Word, position and token type embeddings with their norm, computed in the stored type, frozen.

    Shapes: words (vocabulary, hidden), positions (positions, hidden), types (types, hidden) or None.
    """

    words: Tensor
    positions: Tensor
    types: Tensor | None
    norm_weight: Tensor
    norm_bias: Tensor
    norm_epsilon: float
    dropout: float
    position_offset: int
    pad_token_id: int

    def forward(self, ids: Tensor, types: Tensor | None, layout: PackedLayout) -> Tensor:
        """Return the embeddings (T, hidden) of token ids (T,) and type ids (T,) or None (all zero)."""
        rows = self.words.index_select(0, ids)
        rows += self.positions.index_select(0, layout.positions + self.position_offset)
        if self.types is not None:
            rows += self.types[0] if types is None else self.types.index_select(0, types)
        return functional.layer_norm(rows, rows.shape[1:], self.norm_weight, self.norm_bias, self.norm_epsilon)


class LayerTape(NamedTuple):
    """What the backward pass needs of one layer."""

    attention: AttentionTape
    feed_forward: FeedForwardTape


@dataclass(frozen=True)
class EncoderLayer:
    """One layer; the encoder's last one has pooled attention and returns only the first token of each row."""

    attention: AttentionBlock
    feed_forward: FeedForward

    def forward(
        self, rows: Tensor, layout: PackedLayout, masks: MaskSource | None, *, keeps_tape: bool
    ) -> tuple[Tensor, LayerTape]:
        """Return the layer's output for rows (T, hidden)."""
        attended, attention = self.attention.forward(rows, layout, masks)
        result, feed_forward = self.feed_forward.forward(attended, masks, keeps_tape=keeps_tape)
        return result, LayerTape(attention, feed_forward)

    def backward(self, gradient: Tensor, tape: LayerTape, layout: PackedLayout) -> Tensor | None:
        """Accumulate LoRA gradients; return the input's gradient, or None when nothing below is trained."""
        attended = self.feed_forward.backward(gradient, tape.feed_forward)
        if attended is None:
            return None
        return self.attention.backward(attended, tape.attention, layout)


@dataclass(frozen=True)
class PackedEncoder:
    """All layers; `first_trained` is the lowest layer with LoRA (the number of layers when none has it)."""

    embeddings: Embeddings
    layers: tuple[EncoderLayer, ...]
    first_trained: int
    hidden_size: int
    dtype: torch.dtype
    drops_out: bool

    @property
    def first_repeated(self) -> int:
        """The lowest layer whose result for a row may change; the last layer, which keeps no tokens, always may."""
        return min(self.first_trained, len(self.layers) - 1)

    def embed(self, ids: Tensor, types: Tensor | None, layout: PackedLayout, masks: MaskSource | None) -> Tensor:
        """Return the first layer's input (T, hidden)."""
        rows = self.embeddings.forward(ids, types, layout).to(self.dtype)
        mask = masks.draw(tuple(rows.shape), self.embeddings.dropout, rows.dtype) if masks is not None else None
        return rows if mask is None else rows.mul_(mask)

    def run_frozen(self, rows: Tensor, layout: PackedLayout, masks: MaskSource | None) -> Tensor:
        """Return the states (T, hidden) before the layer `first_repeated`, from the first layer's input."""
        for layer in self.layers[: self.first_repeated]:
            rows, _ = layer.forward(rows, layout, masks, keeps_tape=False)
        return rows

    def forward(
        self, rows: Tensor, layout: PackedLayout, masks: MaskSource | None, *, keeps_tapes: bool = True
    ) -> tuple[Tensor, list[LayerTape]]:
        """Run the layers from `first_repeated` on.

        Return the pooled tokens (B, hidden) and, if kept, the tapes of the layers from `first_trained` on.
        """
        tapes: list[LayerTape] = []
        for index in range(self.first_repeated, len(self.layers)):
            keeps_tape = keeps_tapes and index >= self.first_trained
            rows, tape = self.layers[index].forward(rows, layout, masks, keeps_tape=keeps_tape)
            if keeps_tape:
                tapes.append(tape)
        return rows, tapes

    def backward(self, gradient: Tensor, tapes: list[LayerTape], layout: PackedLayout) -> None:
        """Accumulate LoRA gradients from the gradient of the pooled tokens (B, hidden); empties the tapes."""
        below: Tensor | None = gradient
        for layer in reversed(self.layers[self.first_trained :]):
            assert below is not None  # noqa: S101 - only the lowest trained layer returns None
            below = layer.backward(below, tapes.pop(), layout)
