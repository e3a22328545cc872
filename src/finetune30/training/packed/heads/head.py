"""What a head is to the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from finetune30.training.packed.layout import AskingTokens
from finetune30.training.packed.parts.dropout import MaskSource

if TYPE_CHECKING:
    from finetune30.data.batching import Batch


class Head(Protocol):
    """Says which tokens' outputs are asked for, and computes these, in the masters' type."""

    def asking(self, batch: Batch) -> AskingTokens:
        """Return which tokens' outputs are asked for."""
        ...

    def forward(self, asked: Tensor, masks: MaskSource | None) -> tuple[Tensor, Any]:
        """Return the outputs (Q, outputs) of the tokens that are asked for (Q, hidden), and a tape."""
        ...

    def backward(self, gradient: Tensor, tape: Any) -> Tensor:
        """Accumulate the head's gradients; return that of the asked tokens (Q, hidden)."""
        ...
