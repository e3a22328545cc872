"""The classification head, always in the masters' type (float32): it is new and its values matter most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from finetune30.training.packed.layout import AskingTokens, first_tokens
from finetune30.training.packed.parts.dropout import MaskSource
from finetune30.training.packed.parts.lora import LoraGroup

if TYPE_CHECKING:
    from finetune30.data.batching import Batch


class DenseWeights(NamedTuple):
    """A linear layer of the head: weight (out, in), bias (out,), and their gradients when they are trained."""

    weight: Tensor
    bias: Tensor
    weight_gradient: Tensor | None
    bias_gradient: Tensor | None


class HeadTape(NamedTuple):
    """What the backward pass needs of one batch; activations (Q, hidden), where Q is a token a row."""

    asked: Tensor
    input_mask: Tensor | None
    lora: Any
    active: Tensor
    mask: Tensor | None
    dropped: Tensor


@dataclass(frozen=True)
class ClassificationHead:
    """See `Head`; output(dropout(activation(dense(token)))) of the first token: DistilBERT's, BERT's, RoBERTa's.

    `dense` is BERT's pooler; `activation` is "relu" or "tanh". RoBERTa drops out before the dense layer too.
    """

    dense: DenseWeights
    output: DenseWeights
    lora: LoraGroup
    activation: str
    dropout: float
    drops_input: bool

    def asking(self, batch: Batch) -> AskingTokens:
        """See `Head.asking`: the first token of each row."""
        return first_tokens(batch.lengths)

    def wanted(self, batch: Batch) -> Tensor:
        """See `Head.wanted`: one a row."""
        return torch.from_numpy(batch.targets)

    def forward(
        self, asked: Tensor, wanted: Tensor, masks: MaskSource | None, *, keeps_tape: bool = True
    ) -> tuple[Tensor, HeadTape]:
        """See `Head.forward`; the outputs are logits, one a label."""
        asked = asked.to(self.dense.weight.dtype)
        shape = tuple(asked.shape)
        input_mask = None
        if masks is not None and self.drops_input:
            input_mask = masks.draw(shape, self.dropout, asked.dtype)
        if input_mask is not None:
            asked = asked * input_mask
        dense = functional.linear(asked, self.dense.weight, self.dense.bias)
        lora = self.lora.forward(asked, dense, masks)
        active = torch.relu(dense) if self.activation == "relu" else torch.tanh(dense)
        mask = masks.draw(shape, self.dropout, asked.dtype) if masks is not None else None
        dropped = active if mask is None else active * mask
        logits = functional.linear(dropped, self.output.weight, self.output.bias)
        return logits, HeadTape(asked, input_mask, lora, active, mask, dropped)

    def backward(self, gradient: Tensor, tape: HeadTape) -> Tensor:
        """See `Head.backward`."""
        _accumulate(self.output, gradient, tape.dropped)
        active = gradient @ self.output.weight
        if tape.mask is not None:
            active.mul_(tape.mask)
        if self.activation == "relu":
            dense = active.mul_(tape.active > 0)
        else:
            dense = active.mul_(1.0 - tape.active * tape.active)
        _accumulate(self.dense, dense, tape.asked)
        asked = dense @ self.dense.weight
        self.lora.backward(dense, tape.lora, asked)
        return asked if tape.input_mask is None else asked.mul_(tape.input_mask)

    def spread(self, outputs: NDArray[np.float32], batch: Batch) -> NDArray[np.float32]:
        """See `Head.spread`: each row has asked for one token."""
        return outputs


def _accumulate(layer: DenseWeights, gradient: Tensor, rows: Tensor) -> None:
    if layer.weight_gradient is not None and layer.bias_gradient is not None:
        layer.weight_gradient.addmm_(gradient.t(), rows)
        layer.bias_gradient.add_(gradient.sum(0))
