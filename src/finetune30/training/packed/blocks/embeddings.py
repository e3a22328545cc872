"""The embeddings of BERT and its descendants."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from finetune30.training.packed.layout import PackedLayout


@dataclass(frozen=True)
class Embeddings:
    """Word, position and token type embeddings with their norm, computed in the stored type, frozen.

    Shapes: words (vocabulary, hidden), positions (positions, hidden) from that of a row's first token on, types (types,
    hidden) or None.
    """

    words: Tensor
    positions: Tensor
    types: Tensor | None
    norm_weight: Tensor
    norm_bias: Tensor
    norm_epsilon: float
    dropout: float

    def forward(self, ids: Tensor, types: Tensor | None, layout: PackedLayout) -> Tensor:
        """Return the embeddings (T, hidden) of token ids (T,) and type ids (T,) or None (all zero)."""
        rows = self.words.index_select(0, ids)
        rows += self.positions.index_select(0, layout.positions)
        if self.types is not None:
            rows += self.types[0] if types is None else self.types.index_select(0, types)
        return functional.layer_norm(rows, rows.shape[1:], self.norm_weight, self.norm_bias, self.norm_epsilon)
