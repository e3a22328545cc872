"""LoRA on layers that share an input, without intermediate activations; see `native.memory`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

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


class _Target(ctypes.Structure):
    """What the kernels know of a layer of a group; see lora.cpp."""

    _fields_: ClassVar = [
        ("a", ctypes.c_void_p),
        ("b", ctypes.c_void_p),
        ("a_gradient", ctypes.c_void_p),
        ("b_gradient", ctypes.c_void_p),
        ("scale", ctypes.c_double),
        ("column", ctypes.c_long),
        ("width", ctypes.c_long),
    ]


class NativeLoraGroup:
    """See `LoraGroup`; one call for all layers of the group."""

    def __init__(
        self, kernels: Kernels, targets: Sequence[LoraTarget], weights: TrainableWeights, dropout: float
    ) -> None:
        self._kernels = kernels
        self._dropout, self._kept = dropout, 1.0 / (1.0 - dropout)
        self._weights = stacked = StackedLora(targets, weights)
        self._count, self._ranks, self._width = stacked.a.shape
        # The trained weights never move, so this is looked up once, not at every step.
        tensors = zip(stacked.a, stacked.b, stacked.a_gradient, stacked.b_gradient, strict=True)
        self._targets = (_Target * self._count)(
            *(
                _Target(*(tensor.data_ptr() for tensor in of), target.scale, target.column, of[1].shape[1])
                for target, of in zip(targets, tensors, strict=True)
            )
        )
        self._address = ctypes.addressof(self._targets)

    def __bool__(self) -> bool:
        return True

    def forward(self, rows: Tensor, outputs: Tensor, masks: MaskSource | None) -> NativeLoraTape:
        """See `LoraGroup.forward`."""
        tokens = rows.shape[0]
        mask = draw_bytes(masks, (self._count, tokens, self._width), self._dropout)
        reduced = torch.empty(self._count, tokens, self._ranks, dtype=self._weights.a.dtype)
        self._kernels.forward_lora(
            self._address,
            self._count,
            rows.data_ptr(),
            address(mask),
            self._kept,
            reduced.data_ptr(),
            outputs.data_ptr(),
            outputs.stride(0),
            tokens,
            self._ranks,
            self._width,
        )
        return NativeLoraTape(rows, mask, reduced)

    def backward(self, gradient: Tensor, tape: NativeLoraTape, input_gradient: Tensor | None) -> None:
        """See `LoraGroup.backward`."""
        low = torch.empty_like(tape.reduced)
        self._kernels.backward_lora(
            self._address,
            self._count,
            gradient.data_ptr(),
            gradient.stride(0),
            tape.inputs.data_ptr(),
            address(tape.mask),
            self._kept,
            tape.reduced.data_ptr(),
            low.data_ptr(),
            address(input_gradient),
            tape.inputs.shape[0],
            self._ranks,
            self._width,
        )
