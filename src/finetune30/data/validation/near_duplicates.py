"""Near duplicates: texts whose sets of 5-character shingles overlap by at least 0.85 (Jaccard).

MinHash signatures (Broder 1997, "On the resemblance and containment of documents") come from `rensa`; 16 bands of 7
values find a pair of similarity 0.85 with probability 1 - (1 - 0.85^7)^16 = 0.998 (Leskovec et al., "Mining of
Massive Datasets", section 3.4). Candidates are then compared exactly, so nothing below the threshold is reported.
Work and memory grow linearly: within a bucket every text is compared with the first and with the one before it.
"""

from __future__ import annotations

import numpy as np
import polars as pl

SIMILARITY = 0.85
SHINGLE_CHARACTERS = 5
#: Texts shorter than this, in letters and digits, are left to the search for exact duplicates.
MIN_CHARACTERS = 12
_BANDS, _ROWS_PER_BAND = 16, 7
_SEED = 30
_CHUNK_ROWS = 20_000


def normalize(texts: pl.Series) -> pl.Series:
    """Return texts in lower case with everything but letters and digits as single spaces."""
    return texts.str.to_lowercase().str.replace_all(r"[\W_]+", " ").str.strip_chars()


def find_near_duplicates(texts: pl.Series) -> pl.DataFrame:
    """Return pairs of similar texts: columns `first`, `second` (positions, first < second) and `similarity`.

    `texts` (n,) must be distinct. Every text with a near duplicate stands in at least one pair; a group of texts is
    connected by pairs without listing all of them.
    """
    frame = pl.DataFrame({"position": np.arange(len(texts), dtype=np.int64), "text": normalize(texts)})
    frame = frame.filter(pl.col("text").str.len_chars() >= MIN_CHARACTERS)
    same = frame.with_columns(pl.col("position").first().over("text").alias("first"))
    equal = same.filter(pl.col("first") != pl.col("position"))
    pairs = [equal.select("first", pl.col("position").alias("second"), pl.lit(1.0).alias("similarity"))]
    distinct = frame.unique("text", keep="first", maintain_order=True)
    if distinct.height > 1:
        keys = _band_keys(distinct["text"])
        candidates = _candidates(keys, distinct["text"].str.len_chars().to_numpy())
        pairs.append(_verify(candidates, distinct["text"], distinct["position"].to_numpy()))
    return pl.concat(pairs).sort("second", "first")


def _band_keys(texts: pl.Series) -> np.ndarray:
    """Return one uint64 key a text and band, shape (n, bands)."""
    import rensa

    keys = np.empty((len(texts), _BANDS), dtype=np.uint64)
    for start in range(0, len(texts), _CHUNK_ROWS):
        hashes, offsets = _hash_shingles(texts[start : start + _CHUNK_ROWS])
        count = _BANDS * _ROWS_PER_BAND
        matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, count, _SEED)
        signature = np.array(matrix.to_rows(), dtype=np.uint32).reshape(-1, _BANDS, _ROWS_PER_BAND)
        keys[start : start + len(signature)] = _mix(signature.astype(np.uint64), axis=2)
    return keys


def _hash_shingles(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the hashes of all shingles, text after text, and the offset of each text (n + 1)."""
    lengths = texts.str.len_chars().to_numpy().astype(np.int64)
    codes = np.frombuffer("".join(texts.to_list()).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(codes, SHINGLE_CHARACTERS)
    hashes = _mix(windows, axis=1)
    counts = lengths - SHINGLE_CHARACTERS + 1
    ends = np.cumsum(lengths)
    inside = np.ones(len(hashes), dtype=bool)
    for step in range(1, SHINGLE_CHARACTERS):  # windows that reach from one text into the next
        inside[ends[:-1] - step] = False
    return hashes[inside], np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)


def _mix(values: np.ndarray, axis: int) -> np.ndarray:
    """Fold the values along an axis into one 64-bit hash (multiply and shift, as in splitmix64)."""
    folded = np.zeros(np.delete(values.shape, axis), dtype=np.uint64)
    for index in range(values.shape[axis]):
        folded = (folded ^ np.take(values, index, axis=axis)) * np.uint64(0x9E3779B97F4A7C15)
        folded ^= folded >> np.uint64(29)
    return folded


def _candidates(keys: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return distinct pairs (m, 2) that share a bucket and whose lengths allow the similarity."""
    found: list[np.ndarray] = []
    for band in range(keys.shape[1]):
        order = np.argsort(keys[:, band], kind="stable")
        ordered = keys[order, band]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        first = np.repeat(order[starts], np.diff(np.append(starts, len(order))))
        before = np.concatenate([order[:1], order[:-1]])
        follows = np.concatenate([[False], ordered[1:] == ordered[:-1]])
        for other in (first, before):
            pair = np.stack([other[follows], order[follows]], axis=1)
            found.append(np.sort(pair, axis=1))
    pairs = np.concatenate(found)
    sizes = lengths[pairs] - SHINGLE_CHARACTERS + 1
    # |A ∩ B| / |A ∪ B| <= min / max, but repeated shingles count once: leave some room.
    possible = sizes.min(axis=1) >= sizes.max(axis=1) * SIMILARITY * 0.8
    return np.unique(pairs[possible], axis=0)


def _verify(pairs: np.ndarray, texts: pl.Series, positions: np.ndarray) -> pl.DataFrame:
    """Return the candidates that are as similar as wanted; pairs come sorted by their first text."""
    left = texts.gather(pairs[:, 0]).to_list()
    right = texts.gather(pairs[:, 1]).to_list()
    similarity = np.empty(len(pairs), dtype=np.float64)
    last, shingles = None, frozenset[str]()
    for index, (first, second) in enumerate(zip(left, right, strict=True)):
        if first != last:
            last, shingles = first, shingles_of(first)
        others = shingles_of(second)
        shared = len(shingles & others)
        similarity[index] = shared / (len(shingles) + len(others) - shared)
    close = similarity >= SIMILARITY
    where = positions[pairs[close]].reshape(-1, 2)
    return pl.DataFrame({"first": where[:, 0], "second": where[:, 1], "similarity": similarity[close]})


def shingles_of(text: str) -> frozenset[str]:
    """Return the distinct shingles of a normalized text."""
    size = SHINGLE_CHARACTERS
    return frozenset([text[start : start + size] for start in range(len(text) - size + 1)])
