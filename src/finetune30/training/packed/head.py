"""Classification head and loss, always in the masters' type (float32): the head is new and its values matter most."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from finetune30.training.packed.dropout import MaskSource
from finetune30.training.packed.family import HeadFamily
from finetune30.training.packed.lora import LoraGroup
from finetune30.training.packed.parameters import TrainableWeights


class DenseWeights(NamedTuple):
    """A linear layer of the head: weight (out, in), bias (out,), and their gradients when they are trained."""

    weight: Tensor
    bias: Tensor
    weight_gradient: Tensor | None
    bias_gradient: Tensor | None


class HeadTape(NamedTuple):
    """What the backward pass needs of one batch; activations (B, hidden)."""

    pooled: Tensor
    input_mask: Tensor | None
    lora: Any
    active: Tensor
    mask: Tensor | None
    dropped: Tensor


class ClassificationHead:
    """output(dropout(activation(dense(pooled)))): DistilBERT's, BERT's (dense is its pooler) and RoBERTa's head."""

    def __init__(self, family: HeadFamily, dense: DenseWeights, output: DenseWeights, lora: LoraGroup) -> None:
        self._family, self._dense, self._output, self._lora = family, dense, output, lora

    def forward(self, pooled: Tensor, masks: MaskSource | None) -> tuple[Tensor, HeadTape]:
        """Return logits (B, labels) of the pooled tokens (B, hidden)."""
        shape, family = tuple(pooled.shape), self._family
        input_mask = None
        if masks is not None and family.drops_input:
            input_mask = masks.draw(shape, family.dropout, pooled.dtype)
        if input_mask is not None:
            pooled = pooled * input_mask
        dense = functional.linear(pooled, self._dense.weight, self._dense.bias)
        lora = self._lora.forward(pooled, (dense,), masks)
        active = torch.relu(dense) if family.activation == "relu" else torch.tanh(dense)
        mask = masks.draw(shape, family.dropout, pooled.dtype) if masks is not None else None
        dropped = active if mask is None else active * mask
        logits = functional.linear(dropped, self._output.weight, self._output.bias)
        return logits, HeadTape(pooled, input_mask, lora, active, mask, dropped)

    def backward(self, gradient: Tensor, tape: HeadTape) -> Tensor:
        """Accumulate the head's gradients; return that of the pooled tokens (B, hidden)."""
        _accumulate(self._output, gradient, tape.dropped)
        active = gradient @ self._output.weight
        if tape.mask is not None:
            active.mul_(tape.mask)
        if self._family.activation == "relu":
            dense = active.mul_(tape.active > 0)
        else:
            dense = active.mul_(1.0 - tape.active * tape.active)
        _accumulate(self._dense, dense, tape.pooled)
        pooled = dense @ self._dense.weight
        self._lora.backward((dense,), tape.lora, pooled)
        return pooled if tape.input_mask is None else pooled.mul_(tape.input_mask)


class Loss(Protocol):
    """Row losses and their gradient."""

    def __call__(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum over rows (0-d) and its gradient (B, labels)."""
        ...


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Single label: labels int64 (B,)."""
    logarithms = torch.log_softmax(logits, -1)
    picked = labels[:, None]
    loss = -logarithms.gather(1, picked).sum()
    gradient = logarithms.exp_()
    return loss, gradient.scatter_add_(1, picked, gradient.new_full((1, 1), -1.0).expand_as(picked))


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Several labels: labels (B, labels) of 0 and 1; a row's loss is the mean over its labels."""
    labels = labels.to(logits.dtype)
    count = logits.shape[1]
    loss = functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / count
    return loss, (torch.sigmoid(logits) - labels) / count


def squared_error(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Regression: logits (B, 1), labels (B,)."""
    difference = logits - labels.to(logits.dtype)[:, None]
    return difference.square().sum(), difference.mul_(2.0)


LOSSES: dict[str, Loss] = {
    "single_label_classification": cross_entropy,
    "multi_label_classification": binary_cross_entropy,
    "regression": squared_error,
}


def trained_dense(weights: TrainableWeights, path: str) -> DenseWeights:
    """Return a trained layer's views."""
    weight, bias = f"{path}.weight", f"{path}.bias"
    return DenseWeights(weights.value(weight), weights.value(bias), weights.gradient(weight), weights.gradient(bias))


def _accumulate(layer: DenseWeights, gradient: Tensor, rows: Tensor) -> None:
    if layer.weight_gradient is not None and layer.bias_gradient is not None:
        layer.weight_gradient.addmm_(gradient.t(), rows)
        layer.bias_gradient.add_(gradient.sum(0))
