"""The answer of a learning curve is wrong as rarely as it says, and found where rows and seeds can tell it."""

from __future__ import annotations

import numpy as np
import polars as pl
from benchmarks.learning_curves import Case, simulate

from finetune30.data.splitting import nested_shares
from finetune30.service.statistics.gains import Verdict

#: What a simulated rate at a nominal 5 % may be.
MOST_FALSE_POSITIVES = 0.075


def test_rows_that_bring_nothing_are_rarely_said_to_help_and_others_mostly() -> None:
    times = 80
    assert simulate(Case(60, 3, 0.0), times)[Verdict.BETTER] <= MOST_FALSE_POSITIVES * times
    assert simulate(Case(150, 5, 0.18), 25)[Verdict.BETTER] >= 0.8 * 25


def test_a_gain_that_is_there_is_rarely_ruled_out() -> None:
    assert simulate(Case(150, 3, 0.02), 60)[Verdict.KEEP_DEFAULT] <= MOST_FALSE_POSITIVES * 60


def test_shares_hold_each_other_whole_keys_and_their_part_of_every_stratum_whichever_else_are_drawn() -> None:
    generator = np.random.default_rng(5)
    keys = pl.Series([f"key {number}" for number in generator.integers(0, 300, 900)])
    rare = {"key 7", "key 11", "key 23"}
    strata = pl.Series(["rare" if key in rare else "common" for key in keys])
    shares = (0.01, 0.125, 0.25, 0.5, 1.0)
    drawn = nested_shares(keys, strata, shares, seed=3)
    for share, rows, larger in zip(shares, drawn, [*drawn[1:], drawn[-1]], strict=True):
        assert not (rows & ~larger).any()
        assert not set(keys.filter(pl.Series(rows))) & set(keys.filter(pl.Series(~rows)))
        assert (strata.filter(pl.Series(rows)) == "rare").any()
        assert abs(rows.mean() - share) < 0.02
        assert (nested_shares(keys, strata, [share], seed=3)[0] == rows).all()
    assert drawn[-1].all()
    assert (nested_shares(keys, strata, shares, seed=4)[3] != drawn[3]).any()
