"""The 95 % interval of a score over the rows that it was measured on.

A share of right rows has Wilson's interval (1927, JASA 22:209-212). Any other score has the percentile bootstrap over
rows (Efron 1979, Annals of Statistics 7:1-26): rows are drawn with replacement and the score is that of each draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetune30.data.problem import ScoresResamples
from finetune30.problems.shared.intervals import wilson_interval

if TYPE_CHECKING:
    from finetune30.data.problem import Problem, Targets

RESAMPLES = 2000
_SEED = 19790101
_CELLS = 2_000_000  # drawn rows held at a time
_LEVELS = (0.025, 0.975)


@dataclass(frozen=True)
class ScoreInterval:
    """A score's 95 % interval and whose it is."""

    low: float
    high: float
    method: str

    def as_dict(self) -> dict[str, object]:
        """Return what records hold."""
        return {"low": self.low, "high": self.high, "method": self.method}


def score_interval(problem: Problem, predictions: pl.DataFrame, targets: Targets) -> ScoreInterval | None:
    """Return the interval of the problem's score over predictions (see `Problem.predictions`).

    None without rows, and where the rows do not tell the score: no outcomes, and no way to score resamples.
    """
    if is_share_right(problem, predictions):
        low, high = wilson_interval(int(predictions["outcome"].sum()), predictions.height)
        return ScoreInterval(low, high, "Wilson (1927)")
    draws = _draws_of(problem, predictions, targets)
    return None if draws is None else _percentiles(draws)


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
    if runs and all(is_share_right(problem, predictions) for predictions in runs):
        right = float(np.mean([predictions["outcome"].sum() for predictions in runs]))
        low, high = wilson_interval(right, runs[0].height)
        return ScoreInterval(low, high, "Wilson (1927), of the mean over runs")
    draws = [_draws_of(problem, predictions, targets) for predictions in runs]
    if not draws or any(found is None for found in draws):
        return None
    return _percentiles(np.mean([found for found in draws if found is not None], axis=0))


def _draws_of(problem: Problem, predictions: pl.DataFrame, targets: Targets) -> NDArray[np.float64] | None:
    """Return the scores of resamples of a run's rows; None where the rows do not tell the score."""
    if not predictions.height:
        return None
    if isinstance(problem, ScoresResamples):
        return _resample(predictions.height, lambda times: problem.score_resamples(predictions, targets, times))
    if "outcome" not in predictions.columns or predictions["outcome"].null_count():
        return None
    outcome = predictions["outcome"]
    if outcome.dtype == pl.Boolean and problem.score.name != problem.score.share_right:
        return None
    values = outcome.cast(pl.Float64).to_numpy()
    return _resample(len(values), lambda times: times @ values / len(values))


def _percentiles(draws: NDArray[np.float64]) -> ScoreInterval:
    low, high = np.quantile(draws, _LEVELS).tolist()
    return ScoreInterval(low, high, "bootstrap over rows, percentiles (Efron 1979)")


def _resample(rows: int, score: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the scores of resamples, (RESAMPLES,); `score` is given how often each row was drawn, (some, rows)."""
    generator = np.random.default_rng(_SEED)
    parts = []
    most = max(1, _CELLS // rows)
    for done in range(0, RESAMPLES, most):
        some = min(most, RESAMPLES - done)
        drawn = generator.integers(0, rows, size=(some, rows)) + np.arange(some)[:, None] * rows
        times = np.bincount(drawn.ravel(), minlength=some * rows).reshape(some, rows).astype(np.float64)
        parts.append(score(times))
    return np.concatenate(parts)
