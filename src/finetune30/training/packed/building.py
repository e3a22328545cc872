"""From a checkpoint and a plan to the packed encoder, its head and its trained weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from finetune30.modeling.initialization import initial_head_weight, initial_lora_a
from finetune30.training.packed.attention import query_scale
from finetune30.training.packed.attention_block import AttentionBlock, AttentionOutput
from finetune30.training.packed.backends import Parts, choose_parts
from finetune30.training.packed.base_weights import BaseWeights
from finetune30.training.packed.encoder import Embeddings, EncoderLayer, PackedEncoder
from finetune30.training.packed.family import ROLES, EncoderFamily
from finetune30.training.packed.feed_forward import FeedForward
from finetune30.training.packed.head import ClassificationHead, DenseWeights, trained_dense
from finetune30.training.packed.linear import FrozenLinear
from finetune30.training.packed.lora import LoraGroup, LoraTarget, NoLora, PlainLoraGroup, name_a, name_b
from finetune30.training.packed.lora_plan import LoraPlan
from finetune30.training.packed.norm import ResidualNorm
from finetune30.training.packed.parameters import TrainableWeights

_QUERY_KEY_VALUE = ROLES[:3]


@dataclass(frozen=True)
class PackedModel:
    """What an engine runs: encoder and head over shared trained weights."""

    encoder: PackedEncoder
    head: ClassificationHead
    weights: TrainableWeights
    frozen_count: int
    parts: Parts


def build_packed_model(
    family: EncoderFamily,
    plan: LoraPlan,
    base: BaseWeights,
    *,
    num_labels: int,
    seed: int,
    dtype: torch.dtype,
    master_dtype: torch.dtype = torch.float32,
    compiled: bool = True,
) -> PackedModel:
    """Load the base in `dtype` and build everything trained in `master_dtype`; see `choose_parts`."""
    initial = _initial_weights(family, plan, base, num_labels, seed)
    weights = TrainableWeights(initial, master_dtype, transposed={name_b(path) for path in plan.paths})
    parts = choose_parts(family, dtype, compiled=compiled)
    builder = _Builder(family, plan, base, weights, parts, dtype, master_dtype)
    encoder = builder.encoder()
    return PackedModel(encoder, builder.head(), weights, builder.frozen_count, parts)


def _initial_weights(
    family: EncoderFamily, plan: LoraPlan, base: BaseWeights, num_labels: int, seed: int
) -> dict[str, Tensor]:
    """Return name and first value of every trained weight; those of one LoRA group lie side by side."""
    initial: dict[str, Tensor] = {}
    groups: list[tuple[str, ...]] = []
    for layer in range(family.layer_count):
        groups.append(tuple(family.module_path(layer, role) for role in _QUERY_KEY_VALUE))
        groups += [(family.module_path(layer, role),) for role in ROLES[3:]]
    groups.append((family.head.dense,))
    for paths in groups:
        shapes = {path: _linear_shape(family, path) for path in paths if path in plan.paths}
        for path, (_, inputs) in shapes.items():
            initial[name_a(path)] = initial_lora_a(path, (plan.config.r, inputs), seed)
        for path, (outputs, _) in shapes.items():
            initial[name_b(path)] = torch.zeros(outputs, plan.config.r)
    heads = [family.head.output]
    if trains_dense(family, plan):
        heads.insert(0, family.head.dense)
    for path in heads:
        shape = (num_labels if path == family.head.output else family.hidden_size, family.hidden_size)
        for name, wanted in ((f"{path}.weight", shape), (f"{path}.bias", shape[:1])):
            # A head of another size is replaced, as transformers does with ignore_mismatched_sizes.
            if base.shape(name) == wanted:
                initial[name] = base.load(name, torch.float32)
            else:
                initial[name] = initial_head_weight(name, wanted, seed, family.initializer_range)
    return initial


def trains_dense(family: EncoderFamily, plan: LoraPlan) -> bool:
    """Tell whether the head's dense layer is trained whole (BERT's pooler only when it is saved)."""
    return family.head.dense_is_new or "pooler" in plan.modules_to_save


def _linear_shape(family: EncoderFamily, path: str) -> tuple[int, int]:
    hidden, inner = family.hidden_size, family.intermediate_size
    if path.endswith("." + family.modules["feed_forward_out"]) and not path.endswith(
        "." + family.modules["attention_output"]
    ):
        return (hidden, inner)
    return (inner, hidden) if path.endswith("." + family.modules["feed_forward_in"]) else (hidden, hidden)


class _Builder:
    """Builds blocks one after the other; each base weight is read once and dropped once it is laid out."""

    def __init__(
        self,
        family: EncoderFamily,
        plan: LoraPlan,
        base: BaseWeights,
        weights: TrainableWeights,
        parts: Parts,
        dtype: torch.dtype,
        master_dtype: torch.dtype,
    ) -> None:
        self._family, self._plan, self._base, self._weights = family, plan, base, weights
        self._dtype, self._master_dtype = dtype, master_dtype
        self._parts, self._attention, self._activation = parts, parts.attention(), parts.activation()
        self.frozen_count = 0

    def encoder(self) -> PackedEncoder:
        layers = range(self._family.layer_count)
        adapted = [layer for layer in layers if self._trains_in_layer(layer)]
        first = min(adapted, default=self._family.layer_count)
        return PackedEncoder(
            embeddings=self._embeddings(),
            layers=tuple(self._layer(layer, first) for layer in layers),
            first_trained=first,
            hidden_size=self._family.hidden_size,
            dtype=self._dtype,
            drops_out=max(self._family.hidden_dropout, self._family.attention_dropout) > 0,
        )

    def head(self) -> ClassificationHead:
        family = self._family.head
        if trains_dense(self._family, self._plan):
            dense = trained_dense(self._weights, family.dense)
        else:
            weight = self._load(f"{family.dense}.weight", self._master_dtype)
            dense = DenseWeights(weight, self._load(f"{family.dense}.bias", self._master_dtype), None, None)
        targets = self._targets(family.dense)
        lora = PlainLoraGroup(targets, self._weights, self._plan.config.lora_dropout) if targets else NoLora()
        output = trained_dense(self._weights, family.output)
        return ClassificationHead(family, dense, output, lora)

    def _embeddings(self) -> Embeddings:
        family, path = self._family, self._family.embeddings_path
        stored = self._master_dtype
        types = self._load(f"{path}.token_type_embeddings.weight", stored) if family.type_count else None
        return Embeddings(
            words=self._load(f"{path}.word_embeddings.weight", stored),
            positions=self._load(f"{path}.position_embeddings.weight", stored),
            types=types,
            norm_weight=self._load(f"{path}.LayerNorm.weight", stored),
            norm_bias=self._load(f"{path}.LayerNorm.bias", stored),
            norm_epsilon=family.norm_epsilon,
            dropout=family.hidden_dropout,
            position_offset=family.position_offset,
            pad_token_id=family.pad_token_id,
        )

    def _layer(self, layer: int, first_trained: int) -> EncoderLayer:
        family = self._family
        path = {role: family.module_path(layer, role) for role in family.modules}
        below = layer > first_trained
        attention_trains = any(path[role] in self._plan.paths for role in ROLES[:4])
        backwards = layer >= first_trained
        output = AttentionOutput(
            linear=self._linear(path["attention_output"], backwards),
            lora=self._lora(path["attention_output"]),
            norm=self._norm(path["attention_norm"], family.hidden_dropout if family.drops_attention_output else 0.0),
        )
        query, key, value = (path[role] for role in _QUERY_KEY_VALUE)
        attention = AttentionBlock(
            query=self._linear(query, below),
            key=self._linear(key, below),
            value=self._linear(value, below),
            query_lora=self._lora(query),
            key_value_lora=self._lora(key, value),
            attention=self._attention,
            output=output,
            trains_below=below,
            is_pooled=layer == family.layer_count - 1,
        )
        feed_forward = FeedForward(
            linear_in=self._linear(path["feed_forward_in"], backwards),
            linear_out=self._linear(path["feed_forward_out"], backwards),
            lora_in=self._lora(path["feed_forward_in"]),
            lora_out=self._lora(path["feed_forward_out"]),
            activation=self._activation,
            norm=self._norm(path["output_norm"], family.hidden_dropout),
            trains_below=below or attention_trains,
        )
        return EncoderLayer(attention, feed_forward)

    def _trains_in_layer(self, layer: int) -> bool:
        return any(self._family.module_path(layer, role) in self._plan.paths for role in ROLES)

    def _linear(self, path: str, needs_input_gradient: bool) -> FrozenLinear:
        weight, bias = (self._load(f"{path}.{part}", self._dtype, self._factor(path)) for part in ("weight", "bias"))
        return self._parts.linear(weight, bias, needs_input_gradient=needs_input_gradient)

    def _factor(self, path: str) -> float:
        """Return what a layer's output is multiplied by: attention wants its queries scaled."""
        if not path.endswith("." + self._family.modules["query"]):
            return 1.0
        return query_scale(self._family.hidden_size // self._family.head_count)

    def _norm(self, path: str, dropout: float) -> ResidualNorm:
        weight, bias = (self._load(f"{path}.{part}", self._dtype) for part in ("weight", "bias"))
        return self._parts.norm(weight, bias, dropout)

    def _lora(self, *paths: str) -> LoraGroup:
        targets = self._targets(*paths)
        return self._parts.lora(targets, self._weights, self._plan.config.lora_dropout) if targets else NoLora()

    def _targets(self, *paths: str) -> list[LoraTarget]:
        return [
            LoraTarget(path, place, self._plan.scale * self._factor(path))
            for place, path in enumerate(paths)
            if path in self._plan.paths
        ]

    def _load(self, name: str, dtype: torch.dtype, factor: float = 1.0) -> Tensor:
        tensor = self._base.load(name, dtype, factor)
        self.frozen_count += tensor.numel()
        return tensor
