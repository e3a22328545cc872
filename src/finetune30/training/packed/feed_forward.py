"""The second half of an encoder layer: two linear layers, dropout, residual and norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from finetune30.training.packed.dropout import MaskSource
from finetune30.training.packed.linear import FrozenLinear
from finetune30.training.packed.lora import LoraGroup, LoraTape
from finetune30.training.packed.norm import LayerNorm, NormTape


class FeedForwardTape(NamedTuple):
    """What the backward pass needs of one batch."""

    lora_in: LoraTape | None
    lora_out: LoraTape | None
    before_activation: Tensor
    mask: Tensor | None
    norm: NormTape


@dataclass(frozen=True)
class FeedForward:
    """norm(x + dropout(out(activation(in(x))))), as in BERT; on any rows (T, hidden).

    `trains_below`: whether anything before this block is trained, so that it must hand a gradient down.
    """

    linear_in: FrozenLinear
    linear_out: FrozenLinear
    lora_in: LoraGroup
    lora_out: LoraGroup
    norm: LayerNorm
    activation: str
    dropout: float
    trains_below: bool

    def forward(
        self, rows: Tensor, masks: MaskSource | None, *, keeps_tape: bool = True
    ) -> tuple[Tensor, FeedForwardTape]:
        """Return the block's output and its tape; one that is not kept cannot be used, but takes less memory."""
        inner = self.linear_in.forward(rows)
        lora_in = self.lora_in.forward(rows, inner, masks)
        active = self._activate(inner, in_place=not keeps_tape)
        mask = masks.draw(tuple(rows.shape), self.dropout, rows.dtype) if masks is not None else None
        outer = self.linear_out.forward(active)
        lora_out = self.lora_out.forward(active, outer, masks)
        residual = outer.add_(rows) if mask is None else torch.addcmul(rows, outer, mask)
        normed, norm = self.norm.forward(residual)
        return normed, FeedForwardTape(lora_in, lora_out, inner, mask, norm)

    def _activate(self, inner: Tensor, *, in_place: bool) -> Tensor:
        if in_place:
            return torch.ops.aten.gelu_.default(inner) if self.activation == "gelu" else inner.relu_()
        return functional.gelu(inner) if self.activation == "gelu" else torch.relu(inner)

    def backward(self, gradient: Tensor, tape: FeedForwardTape) -> Tensor | None:
        """Accumulate LoRA gradients; return the input's gradient, or None when nothing below is trained."""
        residual = self.norm.backward(gradient, tape.norm)
        outer = residual if tape.mask is None else residual * tape.mask
        if not (self.trains_below or self.lora_in):
            self.lora_out.backward(outer, tape.lora_out, None)
            return None
        active = self.linear_out.input_gradient(outer)
        self.lora_out.backward(outer, tape.lora_out, active)
        if self.activation == "gelu":
            inner = torch.ops.aten.gelu_backward(active, tape.before_activation)
        else:
            inner = active.mul_(tape.before_activation > 0)
        if not self.trains_below:
            self.lora_in.backward(inner, tape.lora_in, None)
            return None
        below = self.linear_in.input_gradient(inner).add_(residual)
        self.lora_in.backward(inner, tape.lora_in, below)
        return below
