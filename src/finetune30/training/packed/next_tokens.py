"""The packed path's language model as `NextTokens`: it goes on with its own weights, adapter included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetune30.modeling.conversations.generation import NextTokens, ReadRows
from finetune30.training.packed.blocks.pre_norm import DecoderLayer
from finetune30.training.packed.families.family import DecoderShape
from finetune30.training.packed.heads.vocabulary import VocabularyHead
from finetune30.training.packed.key_values import KeyValues
from finetune30.training.packed.layout import TOKENS_AT_ONCE, PackedLayout, build_layout, halve, last_tokens
from finetune30.training.packed.model import PackedModel


class PackedNextTokens(NextTokens):
    """See `NextTokens`; rows lie one after the other without padding, and each looks back at its own tokens."""

    def __init__(self, model: PackedModel, shape: DecoderShape, end_tokens: frozenset[int]) -> None:
        self._model, self._shape, self._end_tokens = model, shape, end_tokens

    @property
    def positions(self) -> int | None:
        """See `NextTokens.positions`."""
        return self._shape.usable_positions

    @property
    def end_tokens(self) -> frozenset[int]:
        """See `NextTokens.end_tokens`."""
        return self._end_tokens

    def begin(self, count: int) -> ReadRows:
        """See `NextTokens.begin`."""
        return _PackedRows(self._model, self._shape, count)


class _PackedRows(ReadRows):
    """See `ReadRows`; a row that goes on no more costs nothing."""

    def __init__(self, model: PackedModel, shape: DecoderShape, count: int) -> None:
        assert isinstance(model.head, VocabularyHead)  # noqa: S101 - a language model's
        self._backbone, self._head, self._shape = model.backbone, model.head, shape
        self._layers = [layer for layer in model.backbone.layers if isinstance(layer, DecoderLayer)]
        self._few_sizes = model.parts.wants_few_sizes
        width = shape.key_value_count * shape.head_size
        self._kept = KeyValues(len(self._layers), count, width, model.backbone.dtype, shape.window)

    @property
    def reads_on(self) -> bool:
        """See `ReadRows.reads_on`; tokens that look at windows of their own are read one at a time."""
        return self._shape.window is None

    def read(self, tokens: Mapping[int, Sequence[int]]) -> Tensor:
        """See `ReadRows.read`."""
        rows = list(tokens)
        lengths = np.asarray([len(tokens[row]) for row in rows], dtype=np.int64)
        parts = [rows[part] for part in halve(lengths, TOKENS_AT_ONCE, slice(0, len(rows)))]
        asked = [self._read({row: tokens[row] for row in part}) for part in parts]
        return self._head.logits(asked[0] if len(asked) == 1 else torch.cat(asked))

    def _read(self, tokens: Mapping[int, Sequence[int]]) -> Tensor:
        """Return the states of the last token of each row, (B, hidden)."""
        lengths = np.asarray([len(new) for new in tokens.values()], dtype=np.int64)
        before = np.asarray([self._kept.lengths[row] for row in tokens], dtype=np.int64)
        layout = self._layout(lengths, before)
        ids = torch.zeros(layout.total, dtype=torch.long)
        ids[: layout.token_count] = torch.tensor([token for new in tokens.values() for token in new])
        states = self._backbone.embed(ids, None, layout, None)
        kept = self._kept.grow({row: len(new) for row, new in tokens.items()})
        for layer, of_layer in zip(self._layers, kept, strict=True):
            states = layer.read(states, layout, of_layer)
        return states

    def _layout(self, lengths: NDArray[np.int64], before: NDArray[np.int64]) -> PackedLayout:
        return build_layout(
            lengths,
            last_tokens(lengths),
            self._shape.head_count,
            self._backbone.dtype,
            with_grid=False,
            few_sizes=self._few_sizes,
            before=before,
        )
