"""Content digests of rows: the same rows in the same order give the same digest, wherever they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

_CHUNK_ROWS = 100_000


def digest_rows(head: str, columns: Sequence[str], frames: Iterable[pl.DataFrame]) -> str:
    """Return the sha256 (64 hex) over `head` and, frame by frame, the columns in order.

    Columns are String, Int64, Float64, Boolean, or Lists and Structs of these to any depth; `head` must tell their
    dtypes apart, where there can be several. Numbers of values, lengths and nulls are hashed beside the values, so that
    no two different sets of rows give the same stream of bytes. Fields of a Struct count in the order of their names.
    """
    hasher = hashlib.sha256(head.encode())
    for frame in frames:
        hasher.update(f"\n{frame.height}\n".encode())
        for column in columns:
            _hash_values(hasher, frame[column])
    return hasher.hexdigest()


def _hash_values(hasher: hashlib._Hash, values: pl.Series) -> None:
    dtype = values.dtype
    if dtype == pl.String:
        _hash_texts(hasher, values)
    elif isinstance(dtype, pl.List):
        _hash_integers(hasher, values.list.len().cast(pl.Int64).fill_null(-1))
        _hash_values(hasher, values.explode(empty_as_null=False, keep_nulls=False))
    elif isinstance(dtype, pl.Struct):
        present = values.is_not_null()
        hasher.update(np.packbits(present.to_numpy()).tobytes())
        for name in sorted(field.name for field in dtype.fields):
            _hash_values(hasher, values.filter(present).struct.field(name))
    elif dtype == pl.Boolean:
        _hash_integers(hasher, values.cast(pl.Int64).fill_null(-1))
    else:
        hasher.update(np.packbits(values.is_not_null().to_numpy()).tobytes())
        _hash_numbers(hasher, values.drop_nulls())


def _hash_texts(hasher: hashlib._Hash, texts: pl.Series) -> None:
    _hash_integers(hasher, texts.str.len_bytes().cast(pl.Int64).fill_null(-1))
    for start in range(0, len(texts), _CHUNK_ROWS):
        hasher.update("".join(texts[start : start + _CHUNK_ROWS].drop_nulls().to_list()).encode())


def _hash_numbers(hasher: hashlib._Hash, numbers: pl.Series) -> None:
    """Hash numbers that compare equal alike: there is one NaN and one zero."""
    if numbers.dtype == pl.Int64:
        _hash_integers(hasher, numbers)
        return
    floats = numbers.to_numpy() + 0.0
    hasher.update(np.where(np.isnan(floats), np.nan, floats).astype("<f8").tobytes())


def _hash_integers(hasher: hashlib._Hash, numbers: pl.Series) -> None:
    hasher.update(numbers.to_numpy().astype("<i8").tobytes())
