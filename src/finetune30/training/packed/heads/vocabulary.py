"""The head of a language model: the last norm and the vocabulary's frozen layer, for supervised tokens only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetune30.data.encoding import IGNORED
from finetune30.training.packed.layout import AskingTokens
from finetune30.training.packed.parts.dropout import MaskSource
from finetune30.training.packed.parts.rms_norm import RmsNorm
from finetune30.training.packed.parts.vocabulary import Vocabulary

if TYPE_CHECKING:
    from finetune30.data.batching import Batch


class VocabularyTape(NamedTuple):
    """What the backward pass needs: the asked tokens and each loss's gradient, both (Q, hidden); the norm's tape."""

    asked: Tensor
    norm: Any
    gradient: Tensor


@dataclass(frozen=True)
class VocabularyHead:
    """See `Head`; of each supervised token the loss, and whether its target was the likeliest, (Q, 2).

    It computes in the run's type.
    """

    norm: RmsNorm
    vocabulary: Vocabulary

    def asking(self, batch: Batch) -> AskingTokens:
        """See `Head.asking`: the supervised tokens."""
        rows, places = np.nonzero(batch.targets != IGNORED)
        return AskingTokens(places, np.bincount(rows, minlength=len(batch)))

    def wanted(self, batch: Batch) -> Tensor:
        """See `Head.wanted`: one a supervised token."""
        return torch.from_numpy(batch.targets[batch.targets != IGNORED].astype(np.int64))

    def forward(
        self, asked: Tensor, wanted: Tensor, masks: MaskSource | None, *, keeps_tape: bool = True
    ) -> tuple[Tensor, VocabularyTape | None]:
        """See `Head.forward`."""
        normed, norm = self.norm.forward(asked)
        losses, right, gradient = self.vocabulary.losses(normed, wanted, keeps_gradient=keeps_tape)
        tape = None if gradient is None else VocabularyTape(asked, norm, gradient)
        return torch.stack([losses, right], dim=1), tape

    def logits(self, asked: Tensor) -> Tensor:
        """Return the logits of the token after each of few tokens (Q, hidden), float32 (Q, vocabulary)."""
        normed, _ = self.norm.forward(asked)
        return self.vocabulary.logits(normed).float()

    def backward(self, gradient: Tensor, tape: VocabularyTape) -> Tensor:
        """See `Head.backward`."""
        scaled = tape.gradient * gradient[:, :1].to(tape.gradient.dtype)
        return self.norm.backward(scaled, tape.asked, tape.norm)

    def spread(self, outputs: NDArray[np.float32], batch: Batch) -> NDArray[np.float32]:
        """See `Head.spread`: (B, L, 2), zero where nothing is asked."""
        found = np.zeros((*batch.targets.shape, outputs.shape[1]), dtype=np.float32)
        found[batch.targets != IGNORED] = outputs
        return found
