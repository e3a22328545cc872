"""The compiled kernels behind the packed path's protocols; sizes are multiples of `layout.LANES`, tensors contiguous.

Dropout masks are bytes, 0 or 1; the kernels multiply by 1 / (1 - p). A tape's tensors are what the kernels read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from finetune30.training.packed.attention import Projections
from finetune30.training.packed.dropout import MaskSource
from finetune30.training.packed.layout import PackedLayout
from finetune30.training.packed.lora import LoraTarget, StackedLora
from finetune30.training.packed.native.library import Kernels
from finetune30.training.packed.parameters import TrainableWeights


def _draw(masks: MaskSource | None, shape: tuple[int, ...], probability: float) -> Tensor | None:
    return masks.draw(shape, probability, torch.uint8) if masks is not None else None


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _sum_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


class NativeNormTape(NamedTuple):
    """The sum (T, hidden), its means and reciprocal standard deviations (2, T), the dropout mask (T, hidden)."""

    residual: Tensor
    statistics: Tensor
    mask: Tensor | None


class NativeResidualNorm:
    """See `ResidualNorm`."""

    def __init__(self, kernels: Kernels, weight: Tensor, bias: Tensor, epsilon: float, dropout: float) -> None:
        self._kernels, self._weight, self._bias, self._epsilon = kernels, weight, bias, epsilon
        self._dropout, self._kept = dropout, 1.0 / (1.0 - dropout)

    def forward(self, output: Tensor, rows: Tensor, masks: MaskSource | None) -> tuple[Tensor, NativeNormTape]:
        """See `ResidualNorm.forward`."""
        tokens, width = rows.shape
        mask = _draw(masks, (tokens, width), self._dropout)
        normed = torch.empty_like(rows)
        statistics = torch.empty(2, tokens, dtype=_sum_type(rows.dtype))
        self._kernels.forward_norm(
            output.data_ptr(),
            rows.data_ptr(),
            _address(mask),
            self._kept,
            self._weight.data_ptr(),
            self._bias.data_ptr(),
            self._epsilon,
            normed.data_ptr(),
            statistics.data_ptr(),
            statistics.data_ptr() + tokens * statistics.itemsize,
            tokens,
            width,
        )
        return normed, NativeNormTape(output, statistics, mask)

    def backward(self, gradient: Tensor, tape: NativeNormTape) -> tuple[Tensor, Tensor]:
        """See `ResidualNorm.backward`."""
        tokens, width = gradient.shape
        below = torch.empty_like(gradient)
        masked = below if tape.mask is None else torch.empty_like(gradient)
        self._kernels.backward_norm(
            gradient.data_ptr(),
            tape.residual.data_ptr(),
            _address(tape.mask),
            self._kept,
            self._weight.data_ptr(),
            tape.statistics.data_ptr(),
            tape.statistics.data_ptr() + tokens * tape.statistics.itemsize,
            below.data_ptr(),
            masked.data_ptr(),
            tokens,
            width,
        )
        return below, masked


class NativeGelu:
    """See `Activation`."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels

    def forward(self, inner: Tensor, *, keeps_derivative: bool) -> tuple[Tensor, Tensor]:
        """See `Activation.forward`."""
        active = torch.empty_like(inner) if keeps_derivative else inner
        self._kernels.forward_gelu(inner.data_ptr(), active.data_ptr(), keeps_derivative, inner.numel())
        return active, inner


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

    def __bool__(self) -> bool:
        return True

    def forward(self, rows: Tensor, outputs: Sequence[Tensor], masks: MaskSource | None) -> NativeLoraTape:
        """See `LoraGroup.forward`."""
        a, b = self._weights.a, self._weights.b
        count, ranks, width = a.shape
        tokens = len(rows)
        mask = _draw(masks, (count, tokens, width), self._dropout)
        reduced = torch.empty(count, tokens, ranks, dtype=a.dtype)
        for place, target in enumerate(self._targets):
            output = outputs[target.place]
            self._kernels.forward_lora(
                rows.data_ptr(),
                None if mask is None else mask.data_ptr() + place * tokens * width,
                self._kept,
                _part(a, place),
                _part(b, place),
                target.scale,
                _part(reduced, place),
                output.data_ptr(),
                output.shape[1],
                tokens,
                ranks,
                width,
                b.shape[2],
            )
        return NativeLoraTape(rows, mask, reduced)

    def backward(self, gradients: Sequence[Tensor], tape: NativeLoraTape, input_gradient: Tensor | None) -> None:
        """See `LoraGroup.backward`."""
        a, b = self._weights.a, self._weights.b
        _, ranks, width = a.shape
        tokens = len(tape.inputs)
        low = torch.empty_like(tape.reduced[0])
        for place, target in enumerate(self._targets):
            gradient = gradients[target.place]
            self._kernels.backward_lora(
                gradient.data_ptr(),
                gradient.shape[1],
                tape.inputs.data_ptr(),
                None if tape.mask is None else tape.mask.data_ptr() + place * tokens * width,
                self._kept,
                _part(a, place),
                _part(b, place),
                target.scale,
                _part(tape.reduced, place),
                low.data_ptr(),
                _part(self._weights.a_gradient, place),
                _part(self._weights.b_gradient, place),
                _address(input_gradient),
                tokens,
                ranks,
                width,
                b.shape[2],
            )


def _part(stacked: Tensor, place: int) -> int:
    return stacked.data_ptr() + place * stacked.stride(0) * stacked.itemsize


class NativeAttentionTape(NamedTuple):
    """What the backward pass needs; where the probabilities of each row lie, the layout's cells tell."""

    given: Projections
    probabilities: Tensor
    mask: Tensor | None
    is_pooled: bool


class NativeAttention:
    """See `Attention`; each row on its own, without empty cells. Contexts and gradients of fillers are zero."""

    def __init__(self, kernels: Kernels, head_count: int, head_size: int, dropout: float) -> None:
        self._kernels, self._heads, self._size = kernels, head_count, head_size
        self._hidden = head_count * head_size
        self._dropout, self._kept = dropout, 1.0 / (1.0 - dropout)

    def accept(self, projected: Tensor, layout: PackedLayout) -> Tensor:
        """See `Attention.accept`."""
        return projected

    def forward(
        self, given: Projections, layout: PackedLayout, masks: MaskSource | None, *, is_pooled: bool
    ) -> tuple[Tensor, NativeAttentionTape]:
        """See `Attention.forward`."""
        cells = int((layout.pooled_cells if is_pooled else layout.square_cells)[-1])
        probabilities = torch.empty(cells, dtype=_sum_type(given.query.dtype))
        tape = NativeAttentionTape(given, probabilities, _draw(masks, (cells,), self._dropout), is_pooled)
        context = _empty_for(given.query, layout)
        self._kernels.forward_attention(
            *self._operands(tape, layout),
            probabilities.data_ptr(),
            context.data_ptr(),
            self._hidden,
            len(layout.lengths),
            self._heads,
            self._size,
            is_pooled,
        )
        return context, tape

    def backward(self, gradient: Tensor, tape: NativeAttentionTape, layout: PackedLayout) -> Projections:
        """See `Attention.backward`."""
        result = Projections(*(_empty_for(tensor, layout) for tensor in tape.given))
        self._kernels.backward_attention(
            gradient.data_ptr(),
            self._hidden,
            *self._operands(tape, layout),
            tape.probabilities.data_ptr(),
            *(tensor.data_ptr() for tensor in result),
            len(layout.lengths),
            self._heads,
            self._size,
            tape.is_pooled,
        )
        return result

    def _operands(self, tape: NativeAttentionTape, layout: PackedLayout) -> tuple[int | float | None, ...]:
        """Return the arguments that both directions share: queries, keys, values, places, mask."""
        return (
            tape.given.query.data_ptr(),
            self._hidden,
            tape.given.key.data_ptr(),
            tape.given.value.data_ptr(),
            self._hidden,
            layout.starts.data_ptr(),
            (layout.pooled_cells if tape.is_pooled else layout.square_cells).data_ptr(),
            _address(tape.mask),
            self._kept,
        )


def _empty_for(tensor: Tensor, layout: PackedLayout) -> Tensor:
    """Return memory like that of a tensor, with zeros for fillers."""
    result = torch.empty_like(tensor)
    if len(result) > layout.token_count:
        result[layout.token_count :].zero_()
    return result
