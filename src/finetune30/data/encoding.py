"""Rows to token ids: flat arrays with offsets, so that a million rows cost a few arrays and no objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

_ROWS_PER_CALL = 4096


@dataclass(frozen=True)
class EncodedTexts:
    """Token ids of some texts: `ids[i]` and `type_ids[i]` have equal length; `full_lengths` is before truncation."""

    ids: list[list[int]]
    type_ids: list[list[int]] | None
    full_lengths: list[int]


class TextEncoder(Protocol):
    """A tokenizer, seen from the data room."""

    def encode(self, texts: list[str], pairs: list[str] | None, max_length: int) -> EncodedTexts:
        """Encode texts (or pairs) with special tokens, truncated to `max_length` tokens."""
        ...


@dataclass(frozen=True)
class EncodedSplit:
    """One split, ready for batching.

    Shapes: tokens int32 (total tokens,), offsets int64 (n + 1,), type_ids int8 like tokens or None,
    labels int64 (n,) | float32 (n,) | float32 (n, k), truncated bool (n,).
    """

    row_ids: list[str]
    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    type_ids: NDArray[np.int8] | None
    labels: NDArray[Any]
    truncated: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.row_ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens in each row, int64 (n,)."""
        return np.diff(self.offsets)

    def renumbered(self, names: tuple[str, ...], order: tuple[str, ...]) -> EncodedSplit:
        """Return the split with its class ids, which are places in `names`, as places in `order` (the same names)."""
        if names == order:
            return self
        place = np.asarray([order.index(name) for name in names])
        if self.labels.ndim == 1:
            return replace(self, labels=place[self.labels])
        labels = np.empty_like(self.labels)
        labels[:, place] = self.labels
        return replace(self, labels=labels)


def encode_split(frame: pl.DataFrame, encoder: TextEncoder, max_length: int, problem_type: str) -> EncodedSplit:
    """Encode the columns row_id, text, text_pair and label of a prepared split."""
    texts: list[str] = frame["text"].to_list()
    pairs: list[str] | None = frame["text_pair"].to_list() if frame["text_pair"].null_count() < len(frame) else None
    tokens: list[NDArray[np.int32]] = []
    types: list[NDArray[np.int8]] = []
    lengths: list[int] = []
    full: list[int] = []
    for start in range(0, len(texts), _ROWS_PER_CALL):
        stop = start + _ROWS_PER_CALL
        part = encoder.encode(texts[start:stop], pairs[start:stop] if pairs else None, max_length)
        lengths += [len(ids) for ids in part.ids]
        full += part.full_lengths
        tokens.append(np.fromiter((t for ids in part.ids for t in ids), dtype=np.int32))
        if part.type_ids is not None:
            types.append(np.fromiter((t for ids in part.type_ids for t in ids), dtype=np.int8))
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(np.asarray(lengths, dtype=np.int64), out=offsets[1:])
    return EncodedSplit(
        row_ids=frame["row_id"].to_list(),
        tokens=np.concatenate(tokens) if tokens else np.zeros(0, dtype=np.int32),
        offsets=offsets,
        type_ids=np.concatenate(types) if types else None,
        labels=_label_array(frame, problem_type),
        truncated=np.asarray(full, dtype=np.int64) > np.asarray(lengths, dtype=np.int64),
    )


def _label_array(frame: pl.DataFrame, problem_type: str) -> NDArray[Any]:
    if problem_type == "single_label_classification":
        return frame["label"].to_numpy().astype(np.int64)
    if problem_type == "regression":
        return frame["label"].to_numpy().astype(np.float32)
    return np.asarray(frame["label"].to_list(), dtype=np.float32)
