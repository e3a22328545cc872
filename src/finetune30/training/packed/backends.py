"""The parts of a layer that have two forms: compiled kernels where they exist and suit, else PyTorch's operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from finetune30.training.packed.layout import LANES
from finetune30.training.packed.native.attention import NativeAttention
from finetune30.training.packed.native.causal_attention import NativeCausalAttention
from finetune30.training.packed.native.decoder import NativeGate, NativeRmsNorm, NativeRotary
from finetune30.training.packed.native.gelu import NativeGelu
from finetune30.training.packed.native.library import Kernels, find_kernels
from finetune30.training.packed.native.linear import NativeLinear
from finetune30.training.packed.native.lora import NativeLoraGroup
from finetune30.training.packed.native.masks import ThreefryMasks
from finetune30.training.packed.native.norm import NativeResidualNorm
from finetune30.training.packed.native.vocabulary import NativeVocabulary
from finetune30.training.packed.parameters import TrainableWeights
from finetune30.training.packed.parts.activation import Activation, Gelu, Relu
from finetune30.training.packed.parts.attention import Attention, GridAttention
from finetune30.training.packed.parts.causal_attention import CausalAttention, PlainCausalAttention
from finetune30.training.packed.parts.dropout import MaskSource, StreamedMasks
from finetune30.training.packed.parts.gate import Gate, PlainGate
from finetune30.training.packed.parts.linear import FrozenLinear, build_frozen_linear
from finetune30.training.packed.parts.lora import LoraGroup, LoraTarget, PlainLoraGroup
from finetune30.training.packed.parts.norm import PlainResidualNorm, ResidualNorm
from finetune30.training.packed.parts.rms_norm import PlainRmsNorm, RmsNorm
from finetune30.training.packed.parts.rotary import PlainRotary, Rotary
from finetune30.training.packed.parts.vocabulary import PlainVocabulary, Vocabulary


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

    def rms_norm(self, weight: Tensor, epsilon: float) -> RmsNorm:
        """Build a norm without a shift."""
        ...

    def rotary(self, frequencies: Sequence[float], dtype: torch.dtype) -> Rotary:
        """Build rotary positions for heads of this type; layers may share them."""
        ...

    def causal_attention(self, head_count: int, key_value_count: int, head_size: int) -> CausalAttention:
        """Build attention to the tokens before; layers may share it."""
        ...

    def gate(self) -> Gate:
        """Build what lies within a gated feed-forward block; layers may share it."""
        ...

    def vocabulary(self, table: Tensor) -> Vocabulary:
        """Build the vocabulary's layer of a table (vocabulary, hidden)."""
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

    def rms_norm(self, weight: Tensor, epsilon: float) -> RmsNorm:
        """See `Parts.rms_norm`."""
        return PlainRmsNorm(weight, epsilon)

    def rotary(self, frequencies: Sequence[float], dtype: torch.dtype) -> Rotary:
        """See `Parts.rotary`."""
        return PlainRotary(frequencies, dtype)

    def causal_attention(self, head_count: int, key_value_count: int, head_size: int) -> CausalAttention:
        """See `Parts.causal_attention`."""
        return PlainCausalAttention(head_count, key_value_count, head_size)

    def gate(self) -> Gate:
        """See `Parts.gate`."""
        return PlainGate()

    def vocabulary(self, table: Tensor) -> Vocabulary:
        """See `Parts.vocabulary`."""
        return PlainVocabulary(table)


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

    def rms_norm(self, weight: Tensor, epsilon: float) -> RmsNorm:
        """See `Parts.rms_norm`."""
        return NativeRmsNorm(self._kernels, weight, epsilon)

    def rotary(self, frequencies: Sequence[float], dtype: torch.dtype) -> Rotary:
        """See `Parts.rotary`; small heads are turned by PyTorch's operators."""
        if len(frequencies) % LANES:
            return PlainRotary(frequencies, dtype)
        return NativeRotary(self._kernels, frequencies, dtype)

    def causal_attention(self, head_count: int, key_value_count: int, head_size: int) -> CausalAttention:
        """See `Parts.causal_attention`."""
        return NativeCausalAttention(self._kernels, head_count, key_value_count, head_size)

    def gate(self) -> Gate:
        """See `Parts.gate`."""
        return NativeGate(self._kernels)

    def vocabulary(self, table: Tensor) -> Vocabulary:
        """See `Parts.vocabulary`; PyTorch's operators for a number of tokens that the products cannot take."""
        if self._kernels.has_products and table.shape[0] % LANES == 0:
            return NativeVocabulary(self._kernels, table)
        return PlainVocabulary(table)
