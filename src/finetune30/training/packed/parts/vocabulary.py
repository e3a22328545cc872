"""The vocabulary's frozen layer: losses of tokens, without more than a few hundred tokens' logits at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torch.nn import functional

from finetune30.training.vocabulary_losses import TokenLosses, frozen_losses


class Vocabulary(Protocol):
    """Logits that a frozen layer makes of states, and cross entropy under them."""

    def rows(self, tokens: Tensor) -> Tensor:
        """Return the layer's rows (T, hidden) of tokens int64 (T,): their embeddings, where both share a table."""
        ...

    def logits(self, states: Tensor) -> Tensor:
        """Return the logits (Q, vocabulary) of few states (Q, hidden)."""
        ...

    def losses(self, states: Tensor, wanted: Tensor, *, keeps_gradient: bool) -> TokenLosses:
        """Return the losses of states (Q, hidden), at least one, where tokens int64 (Q,) are wanted."""
        ...


@dataclass(frozen=True)
class PlainVocabulary:
    """See `Vocabulary`; with PyTorch's operators on a table (vocabulary, hidden)."""

    table: Tensor

    def rows(self, tokens: Tensor) -> Tensor:
        """See `Vocabulary.rows`."""
        return self.table.index_select(0, tokens)

    def logits(self, states: Tensor) -> Tensor:
        """See `Vocabulary.logits`."""
        return functional.linear(states, self.table)

    def losses(self, states: Tensor, wanted: Tensor, *, keeps_gradient: bool) -> TokenLosses:
        """See `Vocabulary.losses`."""
        return frozen_losses(states, self.table, wanted, keeps_gradient=keeps_gradient)
