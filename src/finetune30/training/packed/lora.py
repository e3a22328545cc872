"""Low-rank updates of frozen linear layers that share one input, forwards and backwards.

Hu et al. 2021 (LoRA), section 4.1: output += scale * dropout(x) A^T B^T. Layers with the same input (query, key,
value) form a group, so that the products with A are one batched product. As in PEFT, each has its own dropout mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from finetune30.training.packed.dropout import MaskSource
from finetune30.training.packed.parameters import TrainableWeights


@dataclass(frozen=True)
class LoraTarget:
    """A linear layer with LoRA: its module name, and the columns of the group's output that are its own."""

    path: str
    start: int
    stop: int

    @property
    def name_a(self) -> str:
        """Name of A (r, in) in the weights."""
        return f"{self.path}.lora_A.weight"

    @property
    def name_b(self) -> str:
        """Name of B (out, r) in the weights."""
        return f"{self.path}.lora_B.weight"


class LoraTape(NamedTuple):
    """What the backward pass needs: inputs (n or 1, T, in), masks (n, T, in) or None, reduced (n, T, r)."""

    inputs: Tensor
    masks: Tensor | None
    reduced: Tensor


class LoraGroup:
    """LoRA on n layers of `in_features` inputs; without targets it does nothing."""

    def __init__(
        self,
        targets: Sequence[LoraTarget],
        weights: TrainableWeights,
        *,
        scale: float,
        dropout: float,
        computes_in_masters: bool = False,
    ) -> None:
        self._targets = tuple(targets)
        self._scale, self._dropout = scale, dropout
        if self._targets:
            names_a, names_b = [t.name_a for t in targets], [t.name_b for t in targets]
            stacked = weights.stacked_values if computes_in_masters else weights.stacked_copies
            self._a, self._gradient_a = stacked(names_a), weights.stacked_gradients(names_a)
            self._b, self._gradient_b = stacked(names_b), weights.stacked_gradients(names_b)
            self._same_type = self._a.dtype == self._gradient_a.dtype

    def __bool__(self) -> bool:
        return bool(self._targets)

    def forward(self, rows: Tensor, output: Tensor, masks: MaskSource | None) -> LoraTape | None:
        """Add the update of rows (T, in) to output (T, columns) in place."""
        if not self._targets:
            return None
        shape = (len(self._targets), *rows.shape)
        mask = masks.draw(shape, self._dropout, rows.dtype) if masks is not None else None
        inputs = (rows[None] * mask) if mask is not None else rows[None].expand(shape)
        reduced = torch.bmm(inputs, self._a.transpose(1, 2))
        for position, target in enumerate(self._targets):
            output[:, target.start : target.stop].addmm_(reduced[position], self._b[position].t(), alpha=self._scale)
        return LoraTape(inputs, mask, reduced)

    def backward(self, gradient: Tensor, tape: LoraTape | None, input_gradient: Tensor | None) -> None:
        """Accumulate the gradients of A and B; add that of the input to `input_gradient` (T, in), if given."""
        if tape is None:
            return
        reduced_gradient = torch.empty_like(tape.reduced)
        for position, target in enumerate(self._targets):
            part = gradient[:, target.start : target.stop]
            torch.mm(part, self._b[position], out=reduced_gradient[position])
            self._add(self._gradient_b[position], part.t(), tape.reduced[position])
        for position in range(len(self._targets)):
            self._add(self._gradient_a[position], reduced_gradient[position].t(), tape.inputs[position])
        if input_gradient is None:
            return
        through = torch.bmm(reduced_gradient, self._a)
        for position in range(len(self._targets)):
            if tape.masks is None:
                input_gradient.add_(through[position], alpha=self._scale)
            else:
                input_gradient.addcmul_(through[position], tape.masks[position], value=self._scale)

    def _add(self, total: Tensor, left: Tensor, right: Tensor) -> None:
        if self._same_type:
            total.addmm_(left, right, alpha=self._scale)
        else:
            total.add_(left @ right, alpha=self._scale)
