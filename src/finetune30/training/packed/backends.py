"""The parts of a layer that have two forms: compiled kernels where they exist and suit, else PyTorch's operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from finetune30.training.packed.layout import LANES
from finetune30.training.packed.native.attention import NativeAttention
from finetune30.training.packed.native.gelu import NativeGelu
from finetune30.training.packed.native.library import Kernels, find_kernels
from finetune30.training.packed.native.linear import NativeLinear
from finetune30.training.packed.native.lora import NativeLoraGroup
from finetune30.training.packed.native.masks import ThreefryMasks
from finetune30.training.packed.native.norm import NativeResidualNorm
from finetune30.training.packed.parameters import TrainableWeights
from finetune30.training.packed.parts.activation import Activation, Gelu, Relu
from finetune30.training.packed.parts.attention import Attention, GridAttention
from finetune30.training.packed.parts.dropout import MaskSource, StreamedMasks
from finetune30.training.packed.parts.linear import FrozenLinear, build_frozen_linear
from finetune30.training.packed.parts.lora import LoraGroup, LoraTarget, PlainLoraGroup
from finetune30.training.packed.parts.norm import PlainResidualNorm, ResidualNorm


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

    def attention(self, head_count: int, head_size: int, dropout: float) -> Attention:
        """Build attention; layers may share it."""
        ...

    def activation(self, name: str) -> Activation:
        """Build an activation of `ACTIVATIONS`; layers may share it."""
        ...

    def norm(self, weight: Tensor, bias: Tensor, epsilon: float, dropout: float) -> ResidualNorm:
        """Build the end of half a layer."""
        ...

    def lora(self, targets: Sequence[LoraTarget], weights: TrainableWeights, dropout: float) -> LoraGroup:
        """Build LoRA on layers that share an input."""
        ...


def choose_parts(sizes: Sequence[int], dtype: torch.dtype, *, compiled: bool) -> Parts:
    """Return the fastest parts for activations of this type and these sizes of rows, inner rows and heads.

    `compiled` False: PyTorch's operators.
    """
    kernels = find_kernels(dtype) if compiled and all(size % LANES == 0 for size in sizes) else None
    return PlainParts() if kernels is None else NativeParts(kernels)


class PlainParts:
    """See `Parts`; PyTorch's operators."""

    name = "PyTorch's operators"
    needs_grid = True
    wants_few_sizes = True

    def masks(self, seed: int) -> MaskSource:
        """See `Parts.masks`."""
        return StreamedMasks(seed)

    def linear(self, weight: Tensor, bias: Tensor, *, needs_input_gradient: bool) -> FrozenLinear:
        """See `Parts.linear`."""
        return build_frozen_linear(weight, bias, needs_input_gradient=needs_input_gradient)

    def attention(self, head_count: int, head_size: int, dropout: float) -> Attention:
        """See `Parts.attention`."""
        return GridAttention(dropout)

    def activation(self, name: str) -> Activation:
        """See `Parts.activation`."""
        return Gelu() if name == "gelu" else Relu()

    def norm(self, weight: Tensor, bias: Tensor, epsilon: float, dropout: float) -> ResidualNorm:
        """See `Parts.norm`."""
        return PlainResidualNorm(weight, bias, epsilon, dropout)

    def lora(self, targets: Sequence[LoraTarget], weights: TrainableWeights, dropout: float) -> LoraGroup:
        """See `Parts.lora`."""
        return PlainLoraGroup(targets, weights, dropout)


class NativeParts:
    """See `Parts`; compiled kernels."""

    needs_grid = False

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
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

    def attention(self, head_count: int, head_size: int, dropout: float) -> Attention:
        """See `Parts.attention`."""
        return NativeAttention(self._kernels, head_count, head_size, dropout)

    def activation(self, name: str) -> Activation:
        """See `Parts.activation`."""
        return NativeGelu(self._kernels) if name == "gelu" else Relu()

    def norm(self, weight: Tensor, bias: Tensor, epsilon: float, dropout: float) -> ResidualNorm:
        """See `Parts.norm`."""
        return NativeResidualNorm(self._kernels, weight, bias, epsilon, dropout)

    def lora(self, targets: Sequence[LoraTarget], weights: TrainableWeights, dropout: float) -> LoraGroup:
        """See `Parts.lora`."""
        return NativeLoraGroup(self._kernels, targets, weights, dropout)
