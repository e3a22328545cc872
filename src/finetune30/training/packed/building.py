"""From a checkpoint and a plan to the packed model and its trained weights."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from finetune30.modeling.initialization import initial_head_weight, initial_lora_a
from finetune30.training.packed.backbone import PackedBackbone
from finetune30.training.packed.backends import Parts, choose_parts
from finetune30.training.packed.base_weights import BaseWeights
from finetune30.training.packed.families import Family, Linear, Shape
from finetune30.training.packed.heads.classification import DenseWeights
from finetune30.training.packed.heads.head import Head
from finetune30.training.packed.lora_plan import LoraPlan
from finetune30.training.packed.model import PackedModel
from finetune30.training.packed.parameters import TrainableWeights
from finetune30.training.packed.parts.linear import FrozenLinear
from finetune30.training.packed.parts.lora import LoraGroup, LoraTarget, NoLora, PlainLoraGroup, name_a, name_b
from finetune30.training.packed.parts.norm import ResidualNorm
from finetune30.training.packed.parts.rms_norm import PlainRmsNorm, RmsNorm


def build_packed_model(
    family: Family[Any],
    shape: Shape,
    plan: LoraPlan,
    base: BaseWeights,
    *,
    seed: int,
    dtype: torch.dtype,
    master_dtype: torch.dtype = torch.float32,
    compiled: bool = True,
) -> PackedModel:
    """Load the base in `dtype` and build everything trained in `master_dtype`; see `choose_parts`."""
    initial = _initial_weights(family.linears(shape), plan, base, seed, shape.initializer_range)
    weights = TrainableWeights(initial, master_dtype, transposed={name_b(path) for path in plan.paths})
    sizes = (shape.hidden_size, shape.intermediate_size, shape.head_size)
    parts = choose_parts(sizes, dtype, compiled=compiled)
    return family.assemble(shape, Builder(plan, base, weights, parts, dtype, master_dtype))


def _initial_weights(
    linears: list[Linear], plan: LoraPlan, base: BaseWeights, seed: int, standard_deviation: float
) -> dict[str, Tensor]:
    """Return name and first value of every trained weight; those of layers that share an input lie side by side."""
    initial: dict[str, Tensor] = {}
    groups: dict[str, list[Linear]] = {}
    for linear in linears:
        if plan.adapts(linear):
            groups.setdefault(linear.shares_input_with or linear.path, []).append(linear)
    for group in groups.values():
        for linear in group:
            initial[name_a(linear.path)] = initial_lora_a(linear.path, (plan.config.r, linear.shape[1]), seed)
        for linear in group:
            initial[name_b(linear.path)] = torch.zeros(linear.shape[0], plan.config.r)
    for linear in filter(plan.trains_whole, linears):
        for name, wanted in linear.weights().items():
            # A head of another size is replaced, as transformers does with ignore_mismatched_sizes.
            if base.shape(name) == wanted:
                initial[name] = base.load(name, torch.float32)
            else:
                initial[name] = initial_head_weight(name, wanted, seed, standard_deviation)
    return initial


@dataclass
class Builder:
    """What a family builds its model with; each base weight is read once and dropped once it is laid out."""

    plan: LoraPlan
    base: BaseWeights
    weights: TrainableWeights
    parts: Parts
    dtype: torch.dtype
    master_dtype: torch.dtype
    frozen_count: int = 0

    def adapts(self, linear: Linear) -> bool:
        """Tell whether a linear layer gets LoRA."""
        return self.plan.adapts(linear)

    def linear(
        self, *linears: Linear, needs_input_gradient: bool, factors: Sequence[float] | None = None
    ) -> FrozenLinear:
        """Build one frozen layer of some that share an input, whose outputs lie side by side, each times its factor."""
        scaled = list(zip(linears, factors or [1.0] * len(linears), strict=True))
        weights = [self._load(f"{linear.path}.weight", self.dtype, factor) for linear, factor in scaled]
        biases = [
            self._load(f"{linear.path}.bias", self.dtype, factor)
            if linear.has_bias
            else torch.zeros(linear.shape[0], dtype=self.dtype)
            for linear, factor in scaled
        ]
        weight, bias = (found[0] if len(found) == 1 else torch.cat(found) for found in (weights, biases))
        return self.parts.linear(weight, bias, needs_input_gradient=needs_input_gradient)

    def lora(self, *linears: Linear, factors: Sequence[float] | None = None) -> LoraGroup:
        """Build LoRA on layers that share an input, as `linear` puts them side by side."""
        targets = self._targets(linears, factors)
        return self.parts.lora(targets, self.weights, self.plan.config.lora_dropout) if targets else NoLora()

    def norm(self, path: str, epsilon: float, dropout: float) -> ResidualNorm:
        """Build the norm at the end of half a layer."""
        weight, bias = (self._load(f"{path}.{part}", self.dtype) for part in ("weight", "bias"))
        return self.parts.norm(weight, bias, epsilon, dropout)

    def rms_norm(self, path: str, epsilon: float) -> RmsNorm:
        """Build a norm without a shift."""
        return self.parts.rms_norm(self._load(f"{path}.weight", self.dtype), epsilon)

    def head_norm(self, path: str, epsilon: float) -> RmsNorm:
        """Build the same for the heads of queries or keys, which lie apart in memory."""
        return PlainRmsNorm(self._load(f"{path}.weight", self.dtype), epsilon)

    def embeddings(self, name: str) -> Tensor:
        """Load a frozen table in the type of the activations."""
        return self._load(name, self.dtype)

    def table(self, name: str) -> Tensor:
        """Load a frozen weight in the masters' type."""
        return self._load(name, self.master_dtype)

    def dense(self, linear: Linear) -> DenseWeights:
        """Return a layer of the head in the masters' type: trained whole, or frozen."""
        weight, bias = linear.weights()
        if not self.plan.trains_whole(linear):
            return DenseWeights(self.table(weight), self.table(bias), None, None)
        value, gradient = self.weights.value, self.weights.gradient
        return DenseWeights(value(weight), value(bias), gradient(weight), gradient(bias))

    def head_lora(self, linear: Linear) -> LoraGroup:
        """Build LoRA on a layer of the head, in the masters' type like all of the head."""
        targets = self._targets((linear,))
        return PlainLoraGroup(targets, self.weights, self.plan.config.lora_dropout) if targets else NoLora()

    def model(self, backbone: PackedBackbone, head: Head) -> PackedModel:
        """Return the model of all that was built."""
        return PackedModel(backbone, head, self.weights, self.frozen_count, self.parts)

    def _targets(self, linears: tuple[Linear, ...], factors: Sequence[float] | None = None) -> list[LoraTarget]:
        columns = itertools.accumulate((linear.shape[0] for linear in linears), initial=0)
        return [
            LoraTarget(linear.path, column, self.plan.scale * factor)
            for linear, column, factor in zip(linears, columns, factors or [1.0] * len(linears), strict=False)
            if self.adapts(linear)
        ]

    def _load(self, name: str, dtype: torch.dtype, factor: float = 1.0) -> Tensor:
        tensor = self.base.load(name, dtype, factor)
        self.frozen_count += tensor.numel()
        return tensor
