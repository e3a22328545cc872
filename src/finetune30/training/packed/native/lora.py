"""LoRA on layers that share an input, without intermediate activations; see `native.memory`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from finetune30.training.packed.native.library import Kernels
from finetune30.training.packed.native.memory import address, draw_bytes
from finetune30.training.packed.parameters import TrainableWeights
from finetune30.training.packed.parts.dropout import MaskSource
from finetune30.training.packed.parts.lora import LoraTarget, StackedLora


class NativeLoraTape(NamedTuple):
    """What the backward pass needs: inputs (T, in), mask (n, T, in) or None, reduced (n, T, r)."""

    inputs: Tensor
    mask: Tensor | None
    reduced: Tensor


class NativeLoraGroup:
    """See `LoraGroup`."""

    def __init__(
        self, kernels: Kernels, targets: Sequence[LoraTarget], weights: TrainableWeights, dropout: float
    ) -> None:
        self._kernels, self._targets = kernels, tuple(targets)
        self._dropout, self._kept = dropout, 1.0 / (1.0 - dropout)
        self._weights = StackedLora(targets, weights)
        stacked = (self._weights.a, self._weights.b, self._weights.a_gradient, self._weights.b_gradient)
        # The trained weights never move, so this is looked up once, not at every step.
        self._addresses = [[tensors[place].data_ptr() for tensors in stacked] for place in range(len(targets))]
        self._output_widths = [b.shape[1] for b in self._weights.b]

    def __bool__(self) -> bool:
        return True

    def forward(self, rows: Tensor, outputs: Sequence[Tensor], masks: MaskSource | None) -> NativeLoraTape:
        """See `LoraGroup.forward`."""
        count, ranks, width = self._weights.a.shape
        tokens = rows.shape[0]
        mask = draw_bytes(masks, (count, tokens, width), self._dropout)
        reduced = torch.empty(count, tokens, ranks, dtype=self._weights.a.dtype)
        for place, target in enumerate(self._targets):
            output = outputs[target.place]
            a, b, _, _ = self._addresses[place]
            self._kernels.forward_lora(
                rows.data_ptr(),
                None if mask is None else mask.data_ptr() + place * tokens * width,
                self._kept,
                a,
                b,
                target.scale,
                _part(reduced, place),
                output.data_ptr(),
                output.stride(0),
                tokens,
                ranks,
                width,
                self._output_widths[place],
            )
        return NativeLoraTape(rows, mask, reduced)

    def backward(self, gradients: Sequence[Tensor], tape: NativeLoraTape, input_gradient: Tensor | None) -> None:
        """See `LoraGroup.backward`."""
        _, ranks, width = self._weights.a.shape
        tokens = tape.inputs.shape[0]
        low = torch.empty_like(tape.reduced[0])
        for place, target in enumerate(self._targets):
            gradient = gradients[target.place]
            a, b, a_gradient, b_gradient = self._addresses[place]
            self._kernels.backward_lora(
                gradient.data_ptr(),
                gradient.stride(0),
                tape.inputs.data_ptr(),
                None if tape.mask is None else tape.mask.data_ptr() + place * tokens * width,
                self._kept,
                a,
                b,
                target.scale,
                _part(tape.reduced, place),
                low.data_ptr(),
                a_gradient,
                b_gradient,
                address(input_gradient),
                tokens,
                ranks,
                width,
                self._output_widths[place],
            )


def _part(stacked: Tensor, place: int) -> int:
    return stacked.data_ptr() + place * stacked.stride(0) * stacked.itemsize
