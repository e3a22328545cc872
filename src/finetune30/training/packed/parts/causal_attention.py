"""Attention of each token to those up to it in its row, with fewer heads of keys and values than of queries.

Vaswani et al. 2017, section 3.2.3; Ainslie et al. 2023 (grouped queries): neighbours among the heads of queries share
the keys and values of one head. No probabilities are kept: the backward pass makes them again.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from finetune30.training.packed.key_values import KeptTokens
from finetune30.training.packed.layout import PackedLayout
from finetune30.training.packed.parts.attention import Projections


class CausalAttention(Protocol):
    """Attention of all tokens to their rows' tokens up to them; queries come unscaled."""

    def forward(self, given: Projections, layout: PackedLayout) -> tuple[Tensor, Any]:
        """Return the context (T, hidden), zero for fillers, and a tape; keys and values are narrower than queries."""
        ...

    def look_back(self, given: Projections, layout: PackedLayout, kept: KeptTokens) -> Tensor:
        """Keep new tokens' keys and values, and return their context (T, hidden): they look at what is kept, too."""
        ...

    def backward(self, gradient: Tensor, tape: Any, layout: PackedLayout, into: Projections) -> None:
        """Write the gradients of queries, keys and values `into` tensors of their shapes, from that of the context."""
        ...


class CausalTape(NamedTuple):
    """What the backward pass needs; `sums` are logarithms of the sums of exponentials, one tensor a row."""

    given: Projections
    context: Tensor
    sums: list[Tensor]


class PlainCausalAttention:
    """See `CausalAttention`; with PyTorch's operators, row by row.

    bfloat16 is computed in float32: the operator's backward pass is several times slower in bfloat16.
    """

    def __init__(self, head_count: int, key_value_count: int, head_size: int) -> None:
        self._heads, self._groups, self._size = head_count, key_value_count, head_size
        self._scale = 1.0 / math.sqrt(head_size)

    def forward(self, given: Projections, layout: PackedLayout) -> tuple[Tensor, CausalTape]:
        """See `CausalAttention.forward`."""
        context = given.query.new_empty(given.query.shape)
        context[layout.token_count :].zero_()
        sums = []
        for row in layout.rows:
            output, logarithms = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                *self._heads_of(given, row), 0.0, True, scale=self._scale
            )
            self._split(context[row]).copy_(output[0].transpose(0, 1))
            sums.append(logarithms)
        return context, CausalTape(given, context, sums)

    def look_back(self, given: Projections, layout: PackedLayout, kept: KeptTokens) -> Tensor:
        """See `CausalAttention.look_back`."""
        context = given.query.new_zeros(given.query.shape)
        numbers = (kept.places.tolist(), kept.before.tolist(), kept.first.tolist())
        for new, place, before, first in zip(layout.rows, *numbers, strict=True):
            count = new.stop - new.start
            kept.keys[place, before : before + count] = given.key[new]
            kept.values[place, before : before + count] = given.value[new]
            seen = slice(first, before + count)
            visible = torch.ones(count, before + count - first, dtype=torch.bool).tril(before - first)
            key, value = (_as_batch(self._repeated(part[place, seen])) for part in (kept.keys, kept.values))
            query = _as_batch(self._split(given.query[new]))
            output = functional.scaled_dot_product_attention(query, key, value, visible, scale=self._scale)
            self._split(context[new]).copy_(output[0].transpose(0, 1))
        return context

    def backward(self, gradient: Tensor, tape: CausalTape, layout: PackedLayout, into: Projections) -> None:
        """See `CausalAttention.backward`."""
        for tensor in into:
            tensor[layout.token_count :].zero_()
        for row, logarithms in zip(layout.rows, tape.sums, strict=True):
            query, key, value = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                _as_batch(self._split(gradient[row])),
                *self._heads_of(tape.given, row),
                _as_batch(self._split(tape.context[row])),
                logarithms,
                0.0,
                True,
                scale=self._scale,
            )
            self._split(into.query[row]).copy_(query[0].transpose(0, 1))
            for target, shared in ((into.key, key), (into.value, value)):
                summed = shared[0].unflatten(0, (self._groups, -1)).sum(1)
                self._split(target[row]).copy_(summed.transpose(0, 1))

    def _heads_of(self, given: Projections, row: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of a row, (1, heads, length, size) each, the latter two repeated."""
        key, value = (_as_batch(self._repeated(tensor[row])) for tensor in (given.key, given.value))
        return _as_batch(self._split(given.query[row])), key, value

    def _repeated(self, shared: Tensor) -> Tensor:
        """Return keys or values (n, groups * size) for each head of queries, (n, heads, size)."""
        return self._split(shared).repeat_interleave(self._heads // self._groups, dim=1)

    def _split(self, tokens: Tensor) -> Tensor:
        """Return tokens (n, heads * size) as (n, heads, size), a view."""
        return tokens.view(tokens.shape[0], -1, self._size)


def _as_batch(heads: Tensor) -> Tensor:
    wide = heads.float() if heads.dtype == torch.bfloat16 else heads
    return wide.transpose(0, 1)[None]
