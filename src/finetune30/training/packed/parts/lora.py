"""Low-rank updates of frozen linear layers that share one input, forwards and backwards.

Hu et al. 2021 (LoRA), section 4.1: output += scale * dropout(x) A^T B^T. Layers that have the same input form a
group, so that the products with A are one batched product; their outputs lie side by side. As in PEFT, each has its own
dropout mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from finetune30.training.packed.parameters import TrainableWeights
from finetune30.training.packed.parts.dropout import MaskSource


@dataclass(frozen=True)
class LoraTarget:
    """A linear layer with LoRA: its module name, the first column of its outputs among the group's, its scale."""

    path: str
    column: int
    scale: float


class LoraGroup(Protocol):
    """LoRA on n layers that share an input; false, and doing nothing, without any."""

    def __bool__(self) -> bool: ...

    def forward(self, rows: Tensor, outputs: Tensor, masks: MaskSource | None) -> Any:
        """Add the updates of rows (T, in) to the layers' outputs (T, all out) in place; return a tape."""
        ...

    def backward(self, gradient: Tensor, tape: Any, input_gradient: Tensor | None) -> None:
        """Accumulate A's and B's gradients from the outputs'; add the input's to `input_gradient` (T, in), if given."""
        ...


class NoLora:
    """See `LoraGroup`; on no layer."""

    def __bool__(self) -> bool:
        return False

    def forward(self, rows: Tensor, outputs: Tensor, masks: MaskSource | None) -> None:
        """Do nothing."""

    def backward(self, gradient: Tensor, tape: None, input_gradient: Tensor | None) -> None:
        """Do nothing."""


class StackedLora:
    """The weights of a group's layers and their gradients: A (n, r, in), and of each layer B (r, out)."""

    def __init__(self, targets: Sequence[LoraTarget], weights: TrainableWeights) -> None:
        names_a, names_b = [name_a(t.path) for t in targets], [name_b(t.path) for t in targets]
        self.a, self.a_gradient = weights.stacked_values(names_a), weights.stacked_gradients(names_a)
        # Stored as (r, out): both products with B are faster that way round.
        self.b = [weights.stacked_values([name])[0] for name in names_b]
        self.b_gradient = [weights.stacked_gradients([name])[0] for name in names_b]


class LoraTape(NamedTuple):
    """What the backward pass needs: inputs (n or 1, T, in), masks (n, T, in) or None, reduced (n, T, r)."""

    inputs: Tensor
    masks: Tensor | None
    reduced: Tensor


class PlainLoraGroup:
    """See `LoraGroup`; with PyTorch's operators.

    Everything is computed in the masters' type (float32): at these sizes float32 products are as fast as bfloat16
    ones, and the trained weights need no second copy.
    """

    def __init__(self, targets: Sequence[LoraTarget], weights: TrainableWeights, dropout: float) -> None:
        self._targets, self._dropout = tuple(targets), dropout
        self._weights = StackedLora(targets, weights)

    def __bool__(self) -> bool:
        return True

    def forward(self, rows: Tensor, outputs: Tensor, masks: MaskSource | None) -> LoraTape:
        """See `LoraGroup.forward`."""
        shape = (len(self._targets), *rows.shape)
        mask = masks.draw(shape, self._dropout, self._weights.a.dtype) if masks is not None else None
        inputs = rows[None] * mask if mask is not None else rows[None].to(self._weights.a.dtype).expand(shape)
        reduced = torch.bmm(inputs, self._weights.a.transpose(1, 2))
        for target, low, b in zip(self._targets, reduced, self._weights.b, strict=True):
            output = outputs.narrow(1, target.column, b.shape[1])
            if output.dtype == low.dtype:
                output.addmm_(low, b, alpha=target.scale)
            else:
                output.add_(low @ b, alpha=target.scale)
        return LoraTape(inputs, mask, reduced)

    def backward(self, gradient: Tensor, tape: LoraTape, input_gradient: Tensor | None) -> None:
        """See `LoraGroup.backward`."""
        reduced_gradient = torch.empty_like(tape.reduced)
        for position, target in enumerate(self._targets):
            b = self._weights.b[position]
            part = gradient.narrow(1, target.column, b.shape[1]).to(self._weights.a.dtype)
            low = torch.mm(part, b.t(), out=reduced_gradient[position])
            low.mul_(target.scale)
            self._weights.b_gradient[position].addmm_(tape.reduced[position].t(), part, alpha=target.scale)
        self._weights.a_gradient.baddbmm_(reduced_gradient.transpose(1, 2), tape.inputs)
        if input_gradient is None:
            return
        through = torch.bmm(reduced_gradient, self._weights.a)
        if tape.masks is None:
            input_gradient.add_(through.sum(0))
            return
        for part, mask in zip(through, tape.masks, strict=True):
            input_gradient.addcmul_(part, mask)


def name_a(path: str) -> str:
    """Return the name of a module's A (r, in) in the weights."""
    return f"{path}.lora_A.weight"


def name_b(path: str) -> str:
    """Return the name of a module's B (out, r) in the weights."""
    return f"{path}.lora_B.weight"
