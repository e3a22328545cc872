"""How the families of encoders put their blocks together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune30.training.packed.backbone import PackedBackbone
from finetune30.training.packed.blocks.embeddings import Embeddings
from finetune30.training.packed.blocks.post_norm import (
    AttentionBlock,
    AttentionOutput,
    EncoderLayer,
    FeedForward,
    Projection,
)
from finetune30.training.packed.families.encoder_names import EncoderNames, encoder_linears, head_linears
from finetune30.training.packed.families.family import EncoderShape, Linear, layers_of
from finetune30.training.packed.heads.classification import ClassificationHead
from finetune30.training.packed.parts.activation import Activation
from finetune30.training.packed.parts.attention import Attention, query_scale
from finetune30.training.packed.parts.norm import ResidualNorm

if TYPE_CHECKING:
    from finetune30.training.packed.building import Builder

_ATTENTION = ("query", "key", "value", "attention_output")


@dataclass(frozen=True)
class _Assembly:
    """Puts an encoder's blocks together; its layers share attention and activation.

    `first_trained` is the lowest layer with LoRA. DistilBERT drops nothing out after attention's output layer.
    """

    names: EncoderNames
    shape: EncoderShape
    build: Builder
    attention: Attention
    activation: Activation
    first_trained: int
    drops_attention_output: bool

    def encoder(self, layers: list[dict[str, Linear]]) -> PackedBackbone:
        """Build embeddings and layers."""
        return PackedBackbone(
            embeddings=self._embeddings(),
            layers=tuple(
                EncoderLayer(self._attention_block(number, linears), self._feed_forward(number, linears))
                for number, linears in enumerate(layers)
            ),
            first_trained=self.first_trained,
            hidden_size=self.shape.hidden_size,
            dtype=self.build.dtype,
            drops_out=max(self.shape.hidden_dropout, self.shape.attention_dropout) > 0,
            needs_grid=self.build.parts.needs_grid,
        )

    def _embeddings(self) -> Embeddings:
        shape, table, path = self.shape, self.build.table, self.names.embeddings
        return Embeddings(
            words=table(f"{path}.word_embeddings.weight"),
            positions=table(f"{path}.position_embeddings.weight")[shape.position_offset :],
            types=table(f"{path}.token_type_embeddings.weight") if shape.type_count else None,
            norm_weight=table(f"{path}.LayerNorm.weight"),
            norm_bias=table(f"{path}.LayerNorm.bias"),
            norm_epsilon=shape.norm_epsilon,
            dropout=shape.hidden_dropout,
        )

    def _attention_block(self, number: int, linears: dict[str, Linear]) -> AttentionBlock:
        build, below, scale = self.build, number > self.first_trained, query_scale(self.shape.head_size)
        query, key, value, output = (linears[role] for role in _ATTENTION)

        def project(*layers: Linear) -> Projection:
            factors = [scale if layer is query else 1.0 for layer in layers]
            linear = build.linear(*layers, needs_input_gradient=below, factors=factors)
            return Projection(linear, build.lora(*layers, factors=factors))

        keeps_few = number == self.shape.layer_count - 1
        return AttentionBlock(
            projection=project(key, value) if keeps_few else project(query, key, value),
            asking=project(query) if keeps_few else None,
            attention=self.attention,
            output=AttentionOutput(
                linear=build.linear(output, needs_input_gradient=number >= self.first_trained),
                lora=build.lora(output),
                norm=self._norm(number, self.names.attention_norm, drops_out=self.drops_attention_output),
            ),
            trains_below=below,
        )

    def _feed_forward(self, number: int, linears: dict[str, Linear]) -> FeedForward:
        build, backwards = self.build, number >= self.first_trained
        inwards, outwards = linears["feed_forward_in"], linears["feed_forward_out"]
        return FeedForward(
            linear_in=build.linear(inwards, needs_input_gradient=backwards),
            linear_out=build.linear(outwards, needs_input_gradient=backwards),
            lora_in=build.lora(inwards),
            lora_out=build.lora(outwards),
            activation=self.activation,
            norm=self._norm(number, self.names.output_norm, drops_out=True),
            trains_below=number > self.first_trained or any(build.adapts(linears[role]) for role in _ATTENTION),
        )

    def _norm(self, number: int, name: str, *, drops_out: bool) -> ResidualNorm:
        dropout = self.shape.hidden_dropout if drops_out else 0.0
        return self.build.norm(self.names.within(number, name), self.shape.norm_epsilon, dropout)


def assemble_encoder(
    names: EncoderNames, shape: EncoderShape, build: Builder, *, drops_attention_output: bool = True
) -> PackedBackbone:
    """Build an encoder whose last layer keeps only the tokens that are asked for."""
    layers = layers_of(encoder_linears(names, shape), shape.layer_count)
    adapted = [number for number, linears in enumerate(layers) if any(map(build.adapts, linears.values()))]
    assembly = _Assembly(
        names,
        shape,
        build,
        build.parts.attention(shape.head_count, shape.head_size, shape.attention_dropout),
        build.parts.activation(shape.activation),
        first_trained=min(adapted, default=shape.layer_count),
        drops_attention_output=drops_attention_output,
    )
    return assembly.encoder(layers)


def assemble_head(
    names: EncoderNames, shape: EncoderShape, build: Builder, *, activation: str, drops_input: bool = False
) -> ClassificationHead:
    """Build the head, which reads the first token of each row."""
    dense, output = head_linears(names, shape)
    return ClassificationHead(
        dense=build.dense(dense),
        output=build.dense(output),
        lora=build.head_lora(dense),
        activation=activation,
        dropout=shape.head_dropout,
        drops_input=drops_input,
    )
