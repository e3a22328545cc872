"""The packed backbone: embeddings, layers, and an explicit backward pass down to the lowest trained layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from finetune30.training.packed.layout import PackedLayout
from finetune30.training.packed.parts.dropout import MaskSource


class Embedding(Protocol):
    """What makes the first layer's input of tokens."""

    @property
    def dropout(self) -> float:
        """The rate at which numbers of that input are dropped out."""
        ...

    def forward(self, ids: Tensor, types: Tensor | None, layout: PackedLayout) -> Tensor:
        """Return the embeddings (T, hidden) of token ids (T,) and type ids (T,) or None (all zero)."""
        ...


class Layer(Protocol):
    """One layer of any kind; the last one returns only the tokens whose outputs are asked for."""

    def forward(
        self, rows: Tensor, layout: PackedLayout, masks: MaskSource | None, *, keeps_tape: bool
    ) -> tuple[Tensor, Any]:
        """Return the layer's output (T or Q, hidden) for rows (T, hidden), and its tape."""
        ...

    def backward(self, gradient: Tensor, tape: Any, layout: PackedLayout) -> Tensor | None:
        """Accumulate LoRA gradients; return the input's gradient, or None when nothing below is trained."""
        ...


@dataclass(frozen=True)
class PackedBackbone:
    """All layers; `first_trained` is the lowest layer with LoRA (the number of layers when none has it).

    `needs_grid`: whether attention asks for a layout with a grid.
    """

    embeddings: Embedding
    layers: tuple[Layer, ...]
    first_trained: int
    hidden_size: int
    dtype: torch.dtype
    drops_out: bool
    needs_grid: bool

    @property
    def first_repeated(self) -> int:
        """The lowest layer whose result for a row may change; the last one, which keeps few tokens, always may."""
        return min(self.first_trained, len(self.layers) - 1)

    def embed(self, ids: Tensor, types: Tensor | None, layout: PackedLayout, masks: MaskSource | None) -> Tensor:
        """Return the first layer's input (T, hidden)."""
        rows = self.embeddings.forward(ids, types, layout).to(self.dtype)
        mask = masks.draw(tuple(rows.shape), self.embeddings.dropout, rows.dtype) if masks is not None else None
        return rows if mask is None else rows.mul_(mask)

    def run_frozen(self, rows: Tensor, layout: PackedLayout, masks: MaskSource | None) -> Tensor:
        """Return the states (T, hidden) before the layer `first_repeated`, from the first layer's input."""
        for layer in self.layers[: self.first_repeated]:
            rows, _ = layer.forward(rows, layout, masks, keeps_tape=False)
        return rows

    def forward(
        self, rows: Tensor, layout: PackedLayout, masks: MaskSource | None, *, keeps_tapes: bool = True
    ) -> tuple[Tensor, list[Any]]:
        """Run the layers from `first_repeated` on.

        Return the tokens that are asked for (Q, hidden) and, if kept, the tapes of the layers from `first_trained` on.
        """
        tapes: list[Any] = []
        for index in range(self.first_repeated, len(self.layers)):
            keeps_tape = keeps_tapes and index >= self.first_trained
            rows, tape = self.layers[index].forward(rows, layout, masks, keeps_tape=keeps_tape)
            if keeps_tape:
                tapes.append(tape)
        return rows, tapes

    def backward(self, gradient: Tensor, tapes: list[Any], layout: PackedLayout) -> None:
        """Accumulate LoRA gradients from the gradient of the asked tokens (Q, hidden); empties the tapes."""
        below: Tensor | None = gradient
        for layer in reversed(self.layers[self.first_trained :]):
            assert below is not None  # noqa: S101 - only the lowest trained layer returns None
            below = layer.backward(below, tapes.pop(), layout)
