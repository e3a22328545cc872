"""Losses under a vocabulary's frozen layer that the kernels have laid out; see `native.memory`."""

from __future__ import annotations

import torch
from torch import Tensor

from finetune30.training.packed.native.library import Kernels
from finetune30.training.packed.native.linear import NativeLinear
from finetune30.training.packed.native.memory import sum_type
from finetune30.training.vocabulary_losses import TokenLosses

#: Tokens whose logits exist at one time: with more of them they leave the caches.
_TOKENS_AT_ONCE = 128


class NativeVocabulary:
    """See `Vocabulary`."""

    def __init__(self, kernels: Kernels, table: Tensor) -> None:
        self._kernels = kernels
        self._linear = NativeLinear(kernels, table, table.new_zeros(table.shape[0]), needs_input_gradient=True)

    def rows(self, tokens: Tensor) -> Tensor:
        """See `Vocabulary.rows`."""
        return self._linear.weight_rows(tokens)

    def logits(self, states: Tensor) -> Tensor:
        """See `Vocabulary.logits`."""
        return self._linear.forward(states)

    def losses(self, states: Tensor, wanted: Tensor, *, keeps_gradient: bool) -> TokenLosses:
        """See `Vocabulary.losses`."""
        count = states.shape[0]
        losses, right = (torch.empty(count, dtype=sum_type(states.dtype)) for _ in range(2))
        gradients = []
        for start in range(0, count, _TOKENS_AT_ONCE):
            part = slice(start, start + _TOKENS_AT_ONCE)
            logits = self._linear.forward(states[part])
            self._kernels.cross_entropy(
                logits.data_ptr(),
                wanted[part].data_ptr(),
                losses[part].data_ptr(),
                right[part].data_ptr(),
                keeps_gradient,
                *logits.shape,
            )
            if keeps_gradient:
                gradients.append(self._linear.input_gradient(logits))
        return TokenLosses(losses, right, torch.cat(gradients) if keeps_gradient else None)
