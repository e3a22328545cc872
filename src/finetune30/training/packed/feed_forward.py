"""The second half of an encoder layer: two linear layers, dropout, residual and norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from finetune30.training.packed.activation import Activation
from finetune30.training.packed.dropout import MaskSource
from finetune30.training.packed.linear import FrozenLinear
from finetune30.training.packed.lora import LoraGroup
from finetune30.training.packed.norm import ResidualNorm


class FeedForwardTape(NamedTuple):
    """What the backward pass needs of one batch: the tapes of the block's parts."""

    lora_in: Any
    lora_out: Any
    derivative: Tensor
    norm: Any


@dataclass(frozen=True)
class FeedForward:
    """norm(x + dropout(out(activation(in(x))))), as in BERT; on any rows (T, hidden)."""

    linear_in: FrozenLinear
    linear_out: FrozenLinear
    lora_in: LoraGroup
    lora_out: LoraGroup
    activation: Activation
    norm: ResidualNorm
    trains_below: bool

    def forward(
        self, rows: Tensor, masks: MaskSource | None, *, keeps_tape: bool = True
    ) -> tuple[Tensor, FeedForwardTape]:
        """Return the block's output and its tape; one that is not kept cannot be used, but takes less memory."""
        inner = self.linear_in.forward(rows)
        lora_in = self.lora_in.forward(rows, (inner,), masks)
        active, derivative = self.activation.forward(inner, keeps_derivative=keeps_tape)
        output = self.linear_out.forward(active)
        lora_out = self.lora_out.forward(active, (output,), masks)
        normed, norm = self.norm.forward(output, rows, masks)
        return normed, FeedForwardTape(lora_in, lora_out, derivative, norm)

    def backward(self, gradient: Tensor, tape: FeedForwardTape) -> Tensor | None:
        """Accumulate LoRA gradients; return the input's gradient, or None when nothing below is trained."""
        residual, output = self.norm.backward(gradient, tape.norm)
        if not (self.trains_below or self.lora_in):
            self.lora_out.backward((output,), tape.lora_out, None)
            return None
        if self.lora_out:
            active = self.linear_out.input_gradient(output)
            self.lora_out.backward((output,), tape.lora_out, active)
            inner = active.mul_(tape.derivative)
        else:
            inner = self.linear_out.input_gradient(output, factor=tape.derivative)
        if not self.trains_below:
            self.lora_in.backward((inner,), tape.lora_in, None)
            return None
        below = self.linear_in.input_gradient(inner, onto=residual)
        self.lora_in.backward((inner,), tape.lora_in, below)
        return below
