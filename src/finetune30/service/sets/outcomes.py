"""The evaluations of a set's finished runs, side by side on the same rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from finetune30.config.schema import VERSION_PREFIX
from finetune30.data.versions.manifest import SHORT_DIGITS
from finetune30.files import disk_errors
from finetune30.problems import load_problem
from finetune30.service.runs.open_records import Records
from finetune30.service.runs.outcomes import groups_of, load_outcomes
from finetune30.service.statistics.groups import Codes, join_groups
from finetune30.store import Run, RunStatus
from finetune30.store.run_sets import RunSet, runs_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finetune30.data.problem import Problem, Targets


#: How far a score may lie from the mean that it is.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Judged:
    """A finished run of a set with its score; `predictions` are sorted by row."""

    entry: Mapping[str, Any]
    run: Run
    score: float
    predictions: pl.DataFrame


@dataclass(frozen=True)
class SetOutcomes:
    """What the finished runs of a set found, in the order of the plan, and the runs there are by number."""

    run_set: RunSet
    runs: Mapping[int, Run]
    judged: tuple[Judged, ...]

    @property
    def problem(self) -> Problem:
        """What was learnt; only where a run has finished."""
        return load_problem(str((self.judged[0].run.metrics or {})["problem_type"]))

    @property
    def targets(self) -> Targets:
        """What was asked; only where a run has finished."""
        targets: Targets = (self.judged[0].run.metrics or {})["targets"]
        return targets

    def outcomes(self) -> NDArray[np.float64] | None:
        """Return what came of each row, (rows, runs); None where runs have different rows, or rows have no outcome."""
        if not self.judged:
            return None
        first = self.judged[0].predictions
        if any(not one.predictions["row_id"].equals(first["row_id"]) for one in self.judged):
            return None
        if any("outcome" not in one.predictions.columns for one in self.judged):
            return None
        columns = [one.predictions["outcome"].cast(pl.Float64).to_numpy() for one in self.judged]
        return np.stack(columns, axis=1)

    def groups(self) -> Codes | None:
        """Return the groups of the rows of `outcomes`; None: rows are independent."""
        return join_groups([groups_of(one.predictions) for one in self.judged])

    def of_share(self, share: float) -> SetOutcomes:
        """Return the part of a learning curve that has this share of the training rows."""
        plan = [entry for entry in self.run_set.plan if entry["share"] == share]
        numbers = {entry["number"] for entry in plan}
        runs = {number: run for number, run in self.runs.items() if number in numbers}
        judged = tuple(one for one in self.judged if one.entry["share"] == share)
        return SetOutcomes(replace(self.run_set, plan=plan), runs, judged)

    def has_rows_of(self, other: SetOutcomes) -> bool:
        """Whether both were judged on the same rows; only where runs of both have finished."""
        return self.judged[0].predictions["row_id"].equals(other.judged[0].predictions["row_id"])

    @property
    def planned(self) -> int:
        """Runs that were planned."""
        return len(self.run_set.plan)

    @property
    def ended(self) -> int:
        """Runs of which nothing more comes by itself."""
        return sum(run.status.is_final for run in self.runs.values())

    @property
    def score_is_mean(self) -> bool:
        """Whether the score of every run is the mean of what came of its rows."""
        found = self.outcomes()
        return found is not None and all(
            math.isclose(one.score, mean, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
            for one, mean in zip(self.judged, found.mean(axis=0).tolist(), strict=True)
        )

    @property
    def is_right_or_wrong(self) -> bool:
        """Whether rows are right or wrong, not losses."""
        return bool(self.judged) and self.judged[0].predictions.schema.get("outcome") == pl.Boolean


def load_set_outcomes(records: Records, run_set: RunSet) -> SetOutcomes:
    """Read what the finished runs of a set predicted. Raises StorageError for predictions that cannot be read."""
    found = runs_of(records.store, run_set)
    judged = []
    for entry in run_set.plan:
        run = found.get(entry["number"])
        if run is None or run.status is not RunStatus.SUCCEEDED or run.score is None:
            continue
        path = records.require_folder(run).predictions
        load_outcomes(path)  # refuses what cannot be compared
        with disk_errors(f"cannot read {path}"):
            predictions = _as_of_set(pl.read_parquet(path), run_set, entry["dataset_digest"]).sort("row_id")
        judged.append(Judged(entry, run, run.score, predictions))
    return SetOutcomes(run_set, found, tuple(judged))


def _as_of_set(predictions: pl.DataFrame, run_set: RunSet, own: str) -> pl.DataFrame:
    """Return predictions under the row ids of the frozen version, whose evaluation rows a share has in their order."""
    if run_set.purpose != "curve" or own == run_set.dataset_digest:
        return predictions
    before, after = (f"{VERSION_PREFIX}{digest[:SHORT_DIGITS]}/" for digest in (own, run_set.dataset_digest))
    return predictions.with_columns(pl.col("row_id").str.replace(f"^{before}", after))
