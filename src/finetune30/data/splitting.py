"""Seeded choice of rows: an evaluation share split off, samples of a wanted size, folds, nested shares; stratified."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

#: Keeps the random streams of the choices apart.
_SPLIT_STREAM, _SAMPLE_STREAM, _FOLD_STREAM, _TEST_STREAM, _SHARE_STREAM = 1, 2, 3, 4, 5


def split_off(keys: pl.Series, strata: pl.Series, fraction: float, seed: int, *, for_test: bool = False) -> np.ndarray:
    """Return a bool mask (n,) of the rows that become evaluation rows, or test rows.

    Rows with the same key (identical text) stay on one side; within each stratum whole groups are drawn until the
    share is reached. At least one row goes over, and at least one stays, wherever there are two different texts.
    """
    groups = _draw_groups(keys, strata, seed, _TEST_STREAM if for_test else _SPLIT_STREAM)
    chosen = _within(groups, fraction)
    if groups.height > 1 and (not chosen.any() or chosen.all()):
        smallest = int(groups["draw"].arg_min() or 0)
        chosen = pl.Series("chosen", np.arange(groups.height) == smallest)
    return _rows_of(keys, groups.filter(chosen))


def nested_shares(keys: pl.Series, strata: pl.Series, shares: Sequence[float], seed: int) -> list[np.ndarray]:
    """Return for each share (above 0, at most 1) a bool mask (n,) of its rows: those of a smaller one are in a larger.

    Rows with the same key are drawn together, and each stratum gives its share, but at least one group. One draw
    decides all shares, so that which rows a share has depends on no other share.
    """
    groups = _draw_groups(keys, strata, seed, _SHARE_STREAM)
    first = groups["taken"] == groups["size"]
    return [_rows_of(keys, groups.filter(_within(groups, share) | first)) for share in shares]


def _draw_groups(keys: pl.Series, strata: pl.Series, seed: int, stream: int) -> pl.DataFrame:
    """Return a row for each key: size, and in the order drawn how many rows of its stratum it and those before have.

    The stratum of a key is that of its first row.
    """
    generator = np.random.default_rng([seed, stream])
    frame = pl.DataFrame({"key": keys, "stratum": strata, "position": np.arange(len(keys))})
    groups = frame.group_by("key", maintain_order=True).agg(
        pl.col("stratum").first(), pl.len().alias("size"), pl.col("position").first()
    )
    groups = groups.with_columns(pl.Series("draw", generator.random(groups.height))).sort("stratum", "draw", "position")
    return groups.with_columns(
        pl.col("size").cum_sum().over("stratum").alias("taken"), pl.col("size").sum().over("stratum").alias("all")
    )


def _within(groups: pl.DataFrame, share: float) -> pl.Series:
    """Tell of each group whether the middle of it lies within the share: on average that is met without bias."""
    return groups["taken"] - groups["size"] / 2 <= groups["all"] * share


def _rows_of(keys: pl.Series, groups: pl.DataFrame) -> np.ndarray:
    return keys.is_in(groups["key"].implode()).to_numpy()


def sample_rows(strata: pl.Series, count: int, seed: int) -> np.ndarray:
    """Return the sorted positions (int64) of `count` rows, each stratum with its share (largest remainders)."""
    size = len(strata)
    if count >= size:
        return np.arange(size, dtype=np.int64)
    generator = np.random.default_rng([seed, _SAMPLE_STREAM])
    codes = strata.rank("dense").cast(pl.Int64).to_numpy() - 1
    sizes = np.bincount(codes)
    exact = sizes * (count / size)
    quota = np.floor(exact).astype(np.int64)
    rest = np.lexsort((np.arange(len(sizes)), -(exact - quota)))[: count - int(quota.sum())]
    quota[rest] += 1
    if count >= len(sizes):
        _give_everyone_one(quota)
    order = np.lexsort((generator.random(size), codes))
    rank_within = np.arange(size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(order[rank_within < quota[codes[order]]])


def assign_folds(keys: pl.Series, strata: pl.Series, folds: int, seed: int) -> np.ndarray:
    """Return the fold of every row, int64 (n,) from 0: rows with the same key share one, strata are spread evenly.

    The groups of a stratum are shuffled and dealt out in turn, going on where the stratum before it ended.
    """
    generator = np.random.default_rng([seed, _FOLD_STREAM])
    frame = pl.DataFrame({"key": keys, "stratum": strata})
    groups = frame.group_by("key", maintain_order=True).agg(pl.col("stratum").first())
    groups = groups.with_columns(pl.Series("draw", generator.random(groups.height))).sort("stratum", "draw")
    groups = groups.with_columns(pl.Series("fold", np.arange(groups.height, dtype=np.int64) % folds))
    return frame.join(groups.select("key", "fold"), on="key", how="left", maintain_order="left")["fold"].to_numpy()


def _give_everyone_one(quota: np.ndarray) -> None:
    """Let every stratum have a row where the sample is large enough, at the cost of the largest ones."""
    for empty in np.flatnonzero(quota == 0):
        quota[int(quota.argmax())] -= 1
        quota[empty] = 1
