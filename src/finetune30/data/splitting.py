"""Seeded choice of rows: an evaluation share split off, samples of a wanted size, folds; stratified."""

from __future__ import annotations

import numpy as np
import polars as pl

#: Keeps the random streams of the choices apart.
_SPLIT_STREAM, _SAMPLE_STREAM, _FOLD_STREAM, _TEST_STREAM = 1, 2, 3, 4


def split_off(keys: pl.Series, strata: pl.Series, fraction: float, seed: int, *, for_test: bool = False) -> np.ndarray:
    """Return a bool mask (n,) of the rows that become evaluation rows, or test rows.

    Rows with the same key (identical text) stay on one side; within each stratum whole groups are drawn until the
    share is reached. At least one row goes over, and at least one stays, wherever there are two different texts.
    """
    generator = np.random.default_rng([seed, _TEST_STREAM if for_test else _SPLIT_STREAM])
    frame = pl.DataFrame({"key": keys, "stratum": strata, "position": np.arange(len(keys))})
    groups = frame.group_by("key", maintain_order=True).agg(
        pl.col("stratum").first(), pl.len().alias("size"), pl.col("position").first()
    )
    groups = groups.with_columns(pl.Series("draw", generator.random(groups.height))).sort("stratum", "draw", "position")
    groups = groups.with_columns(
        pl.col("size").cum_sum().over("stratum").alias("taken"), pl.col("size").sum().over("stratum").alias("all")
    )
    # A group goes over while the middle of it lies within the share: on average the share is met without bias.
    groups = groups.with_columns((pl.col("taken") - pl.col("size") / 2 <= pl.col("all") * fraction).alias("chosen"))
    chosen = groups["chosen"]
    if groups.height > 1 and (not chosen.any() or chosen.all()):
        smallest = int(groups["draw"].arg_min() or 0)
        chosen = pl.Series("chosen", np.arange(groups.height) == smallest)
    over = groups.with_columns(chosen.alias("chosen")).filter("chosen")["key"]
    return frame["key"].is_in(over.implode()).to_numpy()


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
