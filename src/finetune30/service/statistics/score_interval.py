"""The 95 % interval of a score over the rows that it was measured on.

A share of right rows has Wilson's interval (1927, JASA 22:209-212). Any other score has the percentile bootstrap over
rows (Efron 1979, Annals of Statistics 7:1-26): rows are drawn with replacement and the score is that of each draw.
Where rows belong together it is groups that count and are drawn; fewer than `FEWEST_GROUPS` give no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetune30.data.groups import GROUP
from finetune30.data.problem import ScoresResamples
from finetune30.problems.shared.intervals import wilson_interval
from finetune30.service.statistics.groups import (
    Codes,
    count_groups,
    grouped_wilson,
    groups_needed,
    join_groups,
    number_groups,
)

if TYPE_CHECKING:
    from finetune30.data.problem import Problem, Targets

RESAMPLES = 2000
_SEED = 19790101
_CELLS = 2_000_000  # drawn rows held at a time
_LEVELS = (0.025, 0.975)


@dataclass(frozen=True)
class ScoreInterval:
    """A score's 95 % interval and whose it is; `groups`: by how many groups, None: rows are independent."""

    low: float
    high: float
    method: str
    groups: int | None = None

    def as_dict(self) -> dict[str, object]:
        """Return what records hold."""
        told: dict[str, object] = {"low": self.low, "high": self.high, "method": self.method}
        return told if self.groups is None else told | {"groups": self.groups}


def score_interval(problem: Problem, predictions: pl.DataFrame, targets: Targets) -> ScoreInterval | None:
    """Return the interval of the problem's score over predictions (see `Problem.predictions`).

    None without rows, for too few groups, and where the rows do not tell the score: no outcomes, and no way to score
    resamples.
    """
    groups = _groups_of(predictions)
    if groups_needed(groups) is not None:
        return None
    if is_share_right(problem, predictions):
        if groups is not None:
            return _wilson_by_group(predictions["outcome"].cast(pl.Float64).to_numpy(), groups, "")
        low, high = wilson_interval(int(predictions["outcome"].sum()), predictions.height)
        return ScoreInterval(low, high, "Wilson (1927)")
    draws = _draws_of(problem, predictions, targets, groups)
    return None if draws is None else _percentiles(draws, groups)


def describe_groups(problem: Problem, predictions: pl.DataFrame, targets: Targets) -> dict[str, object] | None:
    """Return in how many groups rows come and the interval of the score by group, for records; None: in none."""
    groups = _groups_of(predictions)
    if groups is None:
        return None
    found = score_interval(problem, predictions, targets)
    return {"groups": count_groups(groups), "interval": None if found is None else found.as_dict()}


def is_share_right(problem: Problem, predictions: pl.DataFrame) -> bool:
    """Tell whether the score is the share of right rows, and rows are right or wrong."""
    has_outcomes = predictions.height > 0 and predictions.schema.get("outcome") == pl.Boolean
    return has_outcomes and problem.score.name == problem.score.share_right and not predictions["outcome"].null_count()


def mean_score_interval(problem: Problem, runs: Sequence[pl.DataFrame], targets: Targets) -> ScoreInterval | None:
    """Return the interval over rows of the mean score of runs on the same rows, each frame sorted alike.

    Of shares of right rows it is Wilson's with the mean share of each row, which is a little too wide: where all rows
    are right in all runs a bootstrap would leave no width at all. Else one draw of rows is the same for all runs. None
    where `score_interval` would be None for one of them.
    """
    groups = join_groups([_groups_of(predictions) for predictions in runs])
    if groups_needed(groups) is not None:
        return None
    if runs and all(is_share_right(problem, predictions) for predictions in runs):
        if groups is not None:
            shares = np.mean([predictions["outcome"].cast(pl.Float64).to_numpy() for predictions in runs], axis=0)
            return _wilson_by_group(shares, groups, ", of the mean over runs")
        right = float(np.mean([predictions["outcome"].sum() for predictions in runs]))
        low, high = wilson_interval(right, runs[0].height)
        return ScoreInterval(low, high, "Wilson (1927), of the mean over runs")
    draws = [_draws_of(problem, predictions, targets, groups) for predictions in runs]
    if not draws or any(found is None for found in draws):
        return None
    return _percentiles(np.mean([found for found in draws if found is not None], axis=0), groups)


def _groups_of(predictions: pl.DataFrame) -> Codes | None:
    return number_groups(predictions[GROUP].to_numpy()) if GROUP in predictions.columns else None


def _wilson_by_group(shares: NDArray[np.float64], groups: Codes, of_what: str) -> ScoreInterval:
    low, high = grouped_wilson(shares, groups)
    method = f"Wilson (1927) by group, effective number of rows (Korn and Graubard 1998){of_what}"
    return ScoreInterval(low, high, method, count_groups(groups))


def _draws_of(
    problem: Problem, predictions: pl.DataFrame, targets: Targets, groups: Codes | None
) -> NDArray[np.float64] | None:
    """Return the scores of resamples of a run's rows; None where the rows do not tell the score."""
    if not predictions.height:
        return None
    if isinstance(problem, ScoresResamples):
        return _resample(predictions.height, groups, lambda times: problem.score_resamples(predictions, targets, times))
    if "outcome" not in predictions.columns or predictions["outcome"].null_count():
        return None
    outcome = predictions["outcome"]
    if outcome.dtype == pl.Boolean and problem.score.name != problem.score.share_right:
        return None
    values = outcome.cast(pl.Float64).to_numpy()
    if groups is None:
        return _resample(len(values), groups, lambda times: times @ values / len(values))
    return _resample(len(values), groups, lambda times: times @ values / times.sum(axis=1))


def _percentiles(draws: NDArray[np.float64], groups: Codes | None) -> ScoreInterval:
    low, high = np.quantile(draws, _LEVELS).tolist()
    if groups is not None:
        method = "bootstrap of groups, percentiles (Efron 1979)"
        return ScoreInterval(low, high, method, count_groups(groups))
    return ScoreInterval(low, high, "bootstrap over rows, percentiles (Efron 1979)")


def _resample(
    rows: int, groups: Codes | None, score: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Return the scores of resamples, (RESAMPLES,); `score` is given how often each row was drawn, (some, rows).

    A row is drawn as often as its group.
    """
    generator = np.random.default_rng(_SEED)
    parts = []
    most = max(1, _CELLS // rows)
    units = count_groups(groups) or rows
    for done in range(0, RESAMPLES, most):
        some = min(most, RESAMPLES - done)
        drawn = generator.integers(0, units, size=(some, units)) + np.arange(some)[:, None] * units
        times = np.bincount(drawn.ravel(), minlength=some * units).reshape(some, units).astype(np.float64)
        parts.append(score(times if groups is None else times[:, groups]))
    return np.concatenate(parts)
