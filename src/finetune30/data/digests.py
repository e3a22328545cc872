"""Content digests of rows: the same rows in the same order give the same digest, wherever they came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import polars as pl

_CHUNK_ROWS = 100_000


def digest_rows(names: Iterable[str], *frames: pl.DataFrame) -> str:
    """Return the sha256 (64 hex) over label names and, frame by frame, texts, second texts and labels, in order.

    Frames have String columns text, text_pair and label.

    Lengths are hashed beside the bytes, so that no two different sets of rows give the same stream of bytes.
    """
    hasher = hashlib.sha256(json.dumps(list(names), ensure_ascii=False).encode())
    for frame in frames:
        hasher.update(f"\n{frame.height}\n".encode())
        for column in ("text", "text_pair", "label"):
            _hash_texts(hasher, frame[column])
    return hasher.hexdigest()


def _hash_texts(hasher: hashlib._Hash, texts: pl.Series) -> None:
    lengths = texts.str.len_bytes().cast(pl.Int64).fill_null(-1).to_numpy()
    hasher.update(lengths.astype("<i8").tobytes())
    for start in range(0, len(texts), _CHUNK_ROWS):
        hasher.update("".join(texts[start : start + _CHUNK_ROWS].drop_nulls().to_list()).encode())
