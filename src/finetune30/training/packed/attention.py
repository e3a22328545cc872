"""Scaled dot-product attention with an explicit backward pass (Vaswani et al. 2017, section 3.2.1)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from finetune30.training.packed.dropout import MaskSource


class AttentionTape(NamedTuple):
    """What the backward pass needs; query (n, queries, size), key and value (n, width, size), n = groups * heads."""

    query: Tensor
    key: Tensor
    value: Tensor
    probabilities: Tensor
    dropped: Tensor
    mask: Tensor | None


class Attention:
    """Attention within groups of tokens, each head on its own.

    The factor 1 / sqrt(size) is part of the query's frozen weights: see `query_scale`.
    """

    def __init__(self, hidden_size: int, head_count: int, dropout: float) -> None:
        self.heads, self._size, self._dropout = head_count, hidden_size // head_count, dropout

    @property
    def query_scale(self) -> float:
        """What queries must be multiplied by before they come here."""
        return 1.0 / math.sqrt(self._size)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, masks: MaskSource | None
    ) -> tuple[Tensor, AttentionTape]:
        """Return the context (groups * heads, queries, size); `padding` is added to the scores."""
        keys = key.transpose(1, 2)
        scores = torch.bmm(query, keys) if padding is None else torch.baddbmm(padding, query, keys)
        probabilities = torch.softmax(scores, -1)
        mask = None
        if masks is not None:
            mask = masks.draw(tuple(probabilities.shape), self._dropout, probabilities.dtype)
        dropped = probabilities if mask is None else probabilities * mask
        return torch.bmm(dropped, value), AttentionTape(query, key, value, probabilities, dropped, mask)

    def backward(self, gradient: Tensor, tape: AttentionTape, query: Tensor, key: Tensor, value: Tensor) -> None:
        """Write the gradients of query, key and value into the given tensors."""
        torch.bmm(tape.dropped.transpose(1, 2), gradient, out=value)
        probabilities = torch.bmm(gradient, tape.value.transpose(1, 2))
        if tape.mask is not None:
            probabilities.mul_(tape.mask)
        scores: Tensor = torch.ops.aten._softmax_backward_data(probabilities, tape.probabilities, -1, gradient.dtype)
        torch.bmm(scores, tape.key, out=query)
        torch.bmm(scores.transpose(1, 2), tape.query, out=key)

    def split(self, queries: Tensor, groups: int) -> Tensor:
        """Return the first tokens' queries (B, hidden) as contiguous (groups * heads, B / groups, size)."""
        split = queries.view(groups, -1, self.heads, self._size).transpose(1, 2)
        return split.reshape(groups * self.heads, -1, self._size)

    def merge(self, queries: Tensor, groups: int) -> Tensor:
        """Undo `split`."""
        merged = queries.view(groups, self.heads, -1, self._size).transpose(1, 2)
        return merged.reshape(-1, self.heads * self._size)
