"""How the families of decoders put their blocks together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from finetune30.training.packed.backbone import PackedBackbone
from finetune30.training.packed.blocks.pre_norm import (
    CausalAttentionBlock,
    DecoderLayer,
    GatedFeedForward,
    PositionedHeads,
    TokenEmbeddings,
)
from finetune30.training.packed.families.family import DecoderShape, Linear, layers_of
from finetune30.training.packed.heads.vocabulary import VocabularyHead
from finetune30.training.packed.parts.causal_attention import CausalAttention
from finetune30.training.packed.parts.gate import Gate
from finetune30.training.packed.parts.rms_norm import RmsNorm
from finetune30.training.packed.parts.rotary import Rotary
from finetune30.training.packed.parts.vocabulary import Vocabulary

if TYPE_CHECKING:
    from finetune30.training.packed.building import Builder

_ATTENTION = ("query", "key", "value", "attention_output")


@dataclass(frozen=True)
class _Assembly:
    """Puts a decoder's blocks together; its layers share attention, positions and gate.

    `first_trained` is the lowest layer with LoRA; `norms_heads`: whether each head of queries and keys is normed.
    """

    prefix: str
    shape: DecoderShape
    build: Builder
    attention: CausalAttention
    rotary: Rotary
    gate: Gate
    first_trained: int
    norms_heads: bool

    def layer(self, number: int, linears: dict[str, Linear]) -> DecoderLayer:
        """Build one layer."""
        return DecoderLayer(self._attention_block(number, linears), self._feed_forward(number, linears))

    def _attention_block(self, number: int, linears: dict[str, Linear]) -> CausalAttentionBlock:
        build, below = self.build, number > self.first_trained
        query, key, value, output = (linears[role] for role in _ATTENTION)
        return CausalAttentionBlock(
            norm=self._norm(number, "input_layernorm"),
            projection=build.linear(query, key, value, needs_input_gradient=below),
            lora=build.lora(query, key, value),
            widths=(query.shape[0], key.shape[0], value.shape[0]),
            query=self._positioned(number, "q_norm"),
            key=self._positioned(number, "k_norm"),
            attention=self.attention,
            output=build.linear(output, needs_input_gradient=number >= self.first_trained),
            output_lora=build.lora(output),
            trains_below=below,
            only_asking=number == self.shape.layer_count - 1,
        )

    def _positioned(self, number: int, norm: str) -> PositionedHeads:
        path = f"{self.prefix}.layers.{number}.self_attn.{norm}"
        normed = self.build.head_norm(path, self.shape.norm_epsilon) if self.norms_heads else None
        return PositionedHeads(self.shape.head_size, normed, self.rotary)

    def _feed_forward(self, number: int, linears: dict[str, Linear]) -> GatedFeedForward:
        build, backwards = self.build, number >= self.first_trained
        gate, up, down = (linears[role] for role in ("gate", "up", "down"))
        return GatedFeedForward(
            norm=self._norm(number, "post_attention_layernorm"),
            linear_in=build.linear(gate, up, needs_input_gradient=backwards),
            linear_out=build.linear(down, needs_input_gradient=backwards),
            lora_in=build.lora(gate, up),
            lora_out=build.lora(down),
            gate=self.gate,
            trains_below=number > self.first_trained or any(build.adapts(linears[role]) for role in _ATTENTION),
        )

    def _norm(self, number: int, name: str) -> RmsNorm:
        return self.build.rms_norm(f"{self.prefix}.layers.{number}.{name}", self.shape.norm_epsilon)


def assemble_decoder(
    prefix: str,
    shape: DecoderShape,
    linears: list[Linear],
    build: Builder,
    look_up: Callable[[Tensor], Tensor],
    *,
    norms_heads: bool,
) -> PackedBackbone:
    """Build a decoder; `look_up` gives tokens' embeddings. Its last layer keeps only the tokens that are asked for."""
    layers = layers_of(linears, shape.layer_count)
    adapted = [number for number, found in enumerate(layers) if any(map(build.adapts, found.values()))]
    assembly = _Assembly(
        prefix,
        shape,
        build,
        build.parts.causal_attention(shape.head_count, shape.key_value_count, shape.head_size),
        build.parts.rotary(shape.frequencies, build.dtype),
        build.parts.gate(),
        first_trained=min(adapted, default=shape.layer_count),
        norms_heads=norms_heads,
    )
    return PackedBackbone(
        embeddings=TokenEmbeddings(look_up),
        layers=tuple(assembly.layer(number, found) for number, found in enumerate(layers)),
        first_trained=assembly.first_trained,
        hidden_size=shape.hidden_size,
        dtype=build.dtype,
        drops_out=False,
        needs_grid=False,
    )


def assemble_vocabulary(prefix: str, shape: DecoderShape, build: Builder, vocabulary: Vocabulary) -> VocabularyHead:
    """Build the head: the last norm, and the vocabulary's layer."""
    return VocabularyHead(build.rms_norm(f"{prefix}.norm", shape.norm_epsilon), vocabulary)
