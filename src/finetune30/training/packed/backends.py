"""The parts of a layer that have two forms: compiled kernels where they exist and suit, else PyTorch's operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from finetune30.training.packed.activation import Activation, Gelu, Relu
from finetune30.training.packed.attention import Attention, GridAttention
from finetune30.training.packed.dropout import MaskSource, StreamedMasks
from finetune30.training.packed.family import EncoderFamily
from finetune30.training.packed.layout import LANES
from finetune30.training.packed.linear import FrozenLinear, build_frozen_linear
from finetune30.training.packed.lora import LoraGroup, LoraTarget, PlainLoraGroup
from finetune30.training.packed.native.library import Kernels, find_kernels
from finetune30.training.packed.native.linear import NativeLinear
from finetune30.training.packed.native.masks import ThreefryMasks
from finetune30.training.packed.native.operations import (
    NativeAttention,
    NativeGelu,
    NativeLoraGroup,
    NativeResidualNorm,
)
from finetune30.training.packed.norm import PlainResidualNorm, ResidualNorm
from finetune30.training.packed.parameters import TrainableWeights


class Parts(Protocol):
    """Builds parts; `name` is for people.

    `needs_grid`: whether their attention asks for a layout with a grid; `wants_few_sizes`: whether their products keep
    something for each number of rows they meet.
    """

    name: str
    needs_grid: bool
    wants_few_sizes: bool

    def masks(self, seed: int) -> MaskSource:
        """Build the source of dropout masks."""
        ...

    def linear(self, weight: Tensor, bias: Tensor, *, needs_input_gradient: bool) -> FrozenLinear:
        """Build a frozen layer of weight (out, in) and bias (out,)."""
        ...

    def attention(self) -> Attention:
        """Build the attention that all layers share."""
        ...

    def activation(self) -> Activation:
        """Build the activation that all layers share."""
        ...

    def norm(self, weight: Tensor, bias: Tensor, dropout: float) -> ResidualNorm:
        """Build the end of half a layer."""
        ...

    def lora(self, targets: Sequence[LoraTarget], weights: TrainableWeights, dropout: float) -> LoraGroup:
        """Build LoRA on layers that share an input."""
        ...


def choose_parts(family: EncoderFamily, dtype: torch.dtype, *, compiled: bool) -> Parts:
    """Return the fastest parts for activations of this type; `compiled` False: PyTorch's operators."""
    kernels = find_kernels(dtype) if compiled and _fits_vectors(family) else None
    return PlainParts(family) if kernels is None else NativeParts(family, kernels)


def _fits_vectors(family: EncoderFamily) -> bool:
    sizes = (family.hidden_size, family.intermediate_size, family.hidden_size // family.head_count)
    return all(size % LANES == 0 for size in sizes)


class PlainParts:
    """See `Parts`; PyTorch's operators."""

    name = "PyTorch's operators"
    needs_grid = True
    wants_few_sizes = True

    def __init__(self, family: EncoderFamily) -> None:
        self._family = family

    def masks(self, seed: int) -> MaskSource:
        """See `Parts.masks`."""
        return StreamedMasks(seed)

    def linear(self, weight: Tensor, bias: Tensor, *, needs_input_gradient: bool) -> FrozenLinear:
        """See `Parts.linear`."""
        return build_frozen_linear(weight, bias, needs_input_gradient=needs_input_gradient)

    def attention(self) -> Attention:
        """See `Parts.attention`."""
        family = self._family
        return GridAttention(family.head_count, family.hidden_size // family.head_count, family.attention_dropout)

    def activation(self) -> Activation:
        """See `Parts.activation`."""
        return Gelu() if self._family.activation == "gelu" else Relu()

    def norm(self, weight: Tensor, bias: Tensor, dropout: float) -> ResidualNorm:
        """See `Parts.norm`."""
        return PlainResidualNorm(weight, bias, self._family.norm_epsilon, dropout)

    def lora(self, targets: Sequence[LoraTarget], weights: TrainableWeights, dropout: float) -> LoraGroup:
        """See `Parts.lora`."""
        return PlainLoraGroup(targets, weights, dropout)


class NativeParts:
    """See `Parts`; compiled kernels."""

    needs_grid = False

    def __init__(self, family: EncoderFamily, kernels: Kernels) -> None:
        self._family, self._kernels = family, kernels
        self.name = f"compiled kernels for {kernels.instructions}"
        self.wants_few_sizes = not kernels.has_products

    def masks(self, seed: int) -> MaskSource:
        """See `Parts.masks`."""
        return ThreefryMasks(self._kernels, seed)

    def linear(self, weight: Tensor, bias: Tensor, *, needs_input_gradient: bool) -> FrozenLinear:
        """See `Parts.linear`."""
        if self._kernels.has_products:
            return NativeLinear(self._kernels, weight, bias, needs_input_gradient=needs_input_gradient)
        return build_frozen_linear(weight, bias, needs_input_gradient=needs_input_gradient)

    def attention(self) -> Attention:
        """See `Parts.attention`."""
        family = self._family
        size = family.hidden_size // family.head_count
        return NativeAttention(self._kernels, family.head_count, size, family.attention_dropout)

    def activation(self) -> Activation:
        """See `Parts.activation`."""
        return NativeGelu(self._kernels) if self._family.activation == "gelu" else Relu()

    def norm(self, weight: Tensor, bias: Tensor, dropout: float) -> ResidualNorm:
        """See `Parts.norm`."""
        return NativeResidualNorm(self._kernels, weight, bias, self._family.norm_epsilon, dropout)

    def lora(self, targets: Sequence[LoraTarget], weights: TrainableWeights, dropout: float) -> LoraGroup:
        """See `Parts.lora`."""
        return NativeLoraGroup(self._kernels, targets, weights, dropout)
