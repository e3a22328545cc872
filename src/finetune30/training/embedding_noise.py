"""Noise on the embeddings while training (NEFTune, Jain et al. 2023, "NEFTune: Noisy Embeddings Improve ...")."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class EmbeddingNoise:
    """Adds uniform noise to what a model's embeddings give, up to alpha / sqrt(tokens of the row x width).

    It is drawn from the stream of the model's device, as dropout's masks are, and only in training mode: a run that is
    taken up again draws the same, and evaluation draws none. `lengths`, int (B, L), says of each place how many tokens
    its row has, 0 for padding, which gets no noise: neither padding nor rows in the same sequence change how much.
    """

    def __init__(self, model: nn.Module, alpha: float) -> None:
        self._alpha = alpha
        self.lengths: Tensor | None = None
        embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
        embeddings.register_forward_hook(self._add)

    def _add(self, module: nn.Module, _: Any, embedded: Tensor) -> Tensor:
        """Return embeddings (B, L, H) with noise, in their own number format."""
        if not module.training or self.lengths is None:
            return embedded
        size = torch.where(self.lengths > 0, self._alpha / (self.lengths * embedded.shape[-1]).sqrt(), 0.0)
        noise = torch.empty(embedded.shape, dtype=torch.float32, device=embedded.device).uniform_(-1.0, 1.0)
        return embedded + (noise * size[:, :, None]).to(embedded.dtype)


def row_lengths(position_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return of each place of packed rows, (S, W), how many tokens its row has; a row begins where positions do."""
    rows = np.cumsum(position_ids == 0, axis=1) - 1
    return np.stack([np.bincount(sequence)[sequence] for sequence in rows]).astype(np.int64)
