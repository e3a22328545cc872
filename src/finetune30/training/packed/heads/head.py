"""What a head is to the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from finetune30.training.packed.layout import AskingTokens
from finetune30.training.packed.parts.dropout import MaskSource

if TYPE_CHECKING:
    from finetune30.data.batching import Batch


class Head(Protocol):
    """Says which tokens' outputs are asked for, and computes these."""

    def asking(self, batch: Batch) -> AskingTokens:
        """Return which tokens' outputs are asked for."""
        ...

    def wanted(self, batch: Batch) -> Tensor:
        """Return the targets of the outputs: one a row, or one a token that is asked for, (Q,)."""
        ...

    def forward(
        self, asked: Tensor, wanted: Tensor, masks: MaskSource | None, *, keeps_tape: bool = True
    ) -> tuple[Tensor, Any]:
        """Return the outputs (Q, outputs) of the tokens that are asked for (Q, hidden), and a tape if kept."""
        ...

    def backward(self, gradient: Tensor, tape: Any) -> Tensor:
        """Accumulate the head's gradients; return that of the asked tokens (Q, hidden)."""
        ...

    def spread(self, outputs: NDArray[np.float32], batch: Batch) -> NDArray[np.float32]:
        """Return the outputs (Q, outputs) of a batch as `Engine.outputs` gives them."""
        ...
