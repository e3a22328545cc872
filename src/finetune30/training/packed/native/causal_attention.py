"""Attention of each token to those up to it, a few queries at a time; see `native.memory`."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from finetune30.training.packed.key_values import KeptTokens
from finetune30.training.packed.layout import PackedLayout
from finetune30.training.packed.native.library import Kernels
from finetune30.training.packed.native.memory import clear_fillers, sum_type
from finetune30.training.packed.parts.attention import Projections


class NativeCausalTape(NamedTuple):
    """What the backward pass needs; `sums` (T, heads) are logarithms of each query's sum of exponentials."""

    given: Projections
    context: Tensor
    sums: Tensor


class NativeCausalAttention:
    """See `CausalAttention`."""

    def __init__(self, kernels: Kernels, head_count: int, key_value_count: int, head_size: int) -> None:
        self._kernels, self._sizes = kernels, (head_count, key_value_count, head_size)
        self._scale = 1.0 / math.sqrt(head_size)

    def forward(self, given: Projections, layout: PackedLayout) -> tuple[Tensor, NativeCausalTape]:
        """See `CausalAttention.forward`."""
        context = given.query.new_empty(given.query.shape)
        clear_fillers(layout, context)
        sums = torch.empty(layout.total, self._sizes[0], dtype=sum_type(context.dtype))
        self._kernels.forward_causal_attention(
            *_operands(given),
            layout.starts.data_ptr(),
            self._scale,
            context.data_ptr(),
            sums.data_ptr(),
            len(layout.lengths),
            *self._sizes,
        )
        return context, NativeCausalTape(given, context, sums)

    def look_back(self, given: Projections, layout: PackedLayout, kept: KeptTokens) -> Tensor:
        """See `CausalAttention.look_back`."""
        context = given.query.new_empty(given.query.shape)
        clear_fillers(layout, context)
        self._kernels.forward_kept_attention(
            *_operands(given),
            layout.starts.data_ptr(),
            kept.places.data_ptr(),
            kept.before.data_ptr(),
            kept.first.data_ptr(),
            kept.keys.data_ptr(),
            kept.values.data_ptr(),
            kept.keys.shape[1],
            self._scale,
            context.data_ptr(),
            len(layout.lengths),
            *self._sizes,
        )
        return context

    def backward(self, gradient: Tensor, tape: NativeCausalTape, layout: PackedLayout, into: Projections) -> None:
        """See `CausalAttention.backward`; the three are columns of one tensor."""
        clear_fillers(layout, *into)
        self._kernels.backward_causal_attention(
            gradient.data_ptr(),
            tape.context.data_ptr(),
            *_operands(tape.given),
            layout.starts.data_ptr(),
            self._scale,
            tape.sums.data_ptr(),
            *(tensor.data_ptr() for tensor in into),
            into.query.stride(0),
            len(layout.lengths),
            *self._sizes,
        )


def _operands(given: Projections) -> list[int]:
    return [number for tensor in given for number in (tensor.data_ptr(), tensor.stride(0))]
