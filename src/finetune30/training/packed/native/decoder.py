"""Norm, rotary positions and gate of a decoder's layer in one pass each; see `native.memory`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from finetune30.training.packed.layout import PackedLayout
from finetune30.training.packed.native.library import Kernels
from finetune30.training.packed.native.memory import sum_type
from finetune30.training.packed.parts.rotary import Waves


class NativeRmsNorm:
    """See `RmsNorm`; of rows that lie side by side. The tape is the reciprocal of each root, (T,)."""

    def __init__(self, kernels: Kernels, weight: Tensor, epsilon: float) -> None:
        self._kernels, self._weight, self._epsilon = kernels, weight, epsilon

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """See `RmsNorm.forward`."""
        tokens, width = rows.shape
        normed, reciprocals = torch.empty_like(rows), torch.empty(tokens, dtype=sum_type(rows.dtype))
        self._kernels.forward_rms_norm(
            rows.data_ptr(),
            self._weight.data_ptr(),
            self._epsilon,
            normed.data_ptr(),
            reciprocals.data_ptr(),
            tokens,
            width,
        )
        return normed, reciprocals

    def backward(self, gradient: Tensor, rows: Tensor, tape: Tensor, onto: Tensor | None = None) -> Tensor:
        """See `RmsNorm.backward`."""
        below = torch.empty_like(gradient) if onto is None else onto
        self._kernels.backward_rms_norm(
            gradient.data_ptr(),
            rows.data_ptr(),
            self._weight.data_ptr(),
            tape.data_ptr(),
            below.data_ptr(),
            onto is not None,
            *rows.shape,
        )
        return below


class NativeRotary:
    """See `Rotary`; half a head must be a multiple of `layout.LANES` wide."""

    def __init__(self, kernels: Kernels, frequencies: Sequence[float], dtype: torch.dtype) -> None:
        self._kernels, self._waves = kernels, Waves(frequencies, dtype, sum_type(dtype))

    def turn(self, heads: Tensor, layout: PackedLayout) -> None:
        """See `Rotary.turn`."""
        self._turn(heads, layout, 1.0)

    def turn_back(self, gradient: Tensor, layout: PackedLayout) -> None:
        """See `Rotary.turn_back`."""
        self._turn(gradient, layout, -1.0)

    def _turn(self, heads: Tensor, layout: PackedLayout, direction: float) -> None:
        cosines, sines = self._waves.of(layout)
        self._kernels.turn(
            heads.data_ptr(), heads.stride(0), cosines.data_ptr(), sines.data_ptr(), direction, *heads.shape
        )


class NativeGate:
    """See `Gate`."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels

    def forward(self, pair: Tensor) -> Tensor:
        """See `Gate.forward`."""
        tokens, width = pair.shape[0], pair.shape[1] // 2
        active = pair.new_empty(tokens, width)
        self._kernels.forward_gate(pair.data_ptr(), active.data_ptr(), tokens, width)
        return active

    def backward(self, gradient: Tensor, pair: Tensor) -> Tensor:
        """See `Gate.backward`."""
        below = torch.empty_like(pair)
        self._kernels.backward_gate(gradient.data_ptr(), pair.data_ptr(), below.data_ptr(), *gradient.shape)
        return below
