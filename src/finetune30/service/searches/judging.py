"""What is said at the end of a search: best against default, the luck in the best, the cheapest that is as good."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from finetune30.errors import StorageError
from finetune30.service.runs.open_records import Records
from finetune30.service.searches.repeats import LEAST_REPEATS, count_repeats
from finetune30.service.searches.standing import Standing, value_of
from finetune30.service.searches.verdicts import Judging, describe_gain
from finetune30.service.sets.measures import measure_of
from finetune30.service.sets.outcomes import SetOutcomes, load_set_outcomes
from finetune30.service.statistics.gains import Verdict, judge_gain
from finetune30.service.statistics.groups import Codes, join_groups
from finetune30.store import Run
from finetune30.store.run_sets import load_set
from finetune30.store.search_ends import SearchEnd
from finetune30.store.searches import TrialState, runs_of_trials
from finetune30.values import say_count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Outcomes = NDArray[np.float64]

Json = dict[str, Any]
#: How far a recorded metric may lie from the mean that it is.
_ROUNDING = 1e-4


def judge_end(records: Records, standing: Standing, end: SearchEnd) -> Json:
    """Return what the evaluation rows say, as JSON: `verdict` (see `compare_sides`), `luck` and `near`.

    The rows chose the best of all trials, so that their number counts against it. Raises StorageError for predictions
    that cannot be read.
    """
    sides = [load_set_outcomes(records, load_set(records.store, set_id)) for set_id in end.sets]
    outcomes = [side.outcomes() for side in sides]
    repeats = [one for one in outcomes if one is not None]
    said: Json
    if not sides:
        said = {"verdict": str(Verdict.KEEP_DEFAULT), "message": "no trial is better than trial 0: keep the default"}
    elif reason := why_not_judged(sides, outcomes):
        said = {"verdict": None, "message": reason}
    else:
        metric, least = standing.search.metric, standing.spec.confirm.least_gain
        judging = shape_judging(end, sides, None if _is_mean(sides, repeats, metric) else metric)
        said = compare_sides(least, judging, repeats, tried=_count_tried(standing), groups=groups_of_sides(sides))
    return {**said, "luck": _tell_luck(standing, end, sides), **_look_at_trials(records, standing, end, repeats)}


def groups_of_sides(sides: Sequence[SetOutcomes]) -> Codes | None:
    """Return the groups of the rows on which sets were judged; None: rows are independent."""
    return join_groups([side.groups() for side in sides])


def compare_sides(
    least_gain: float, judging: Judging, sides: list[Outcomes], *, tried: int, groups: Codes | None = None
) -> Json:
    """Judge outcomes of trial 0 and of the best trial on the same rows, (rows, seeds) each, and describe it.

    `least_gain` as `confirm.least_gain`: of the share of right rows, or of a loss as a share of trial 0's.
    Whose best trial fails where trial 0 does not is not called better, whatever its other repeats have.
    """
    is_right = judging.is_right
    least = least_gain * (1.0 if is_right else float(sides[0].mean()))
    gain = judge_gain(sides[0], sides[1], is_right=is_right, tried=tried, least_gain=least, groups=groups)
    if gain.verdict is Verdict.BETTER and judging.repeats[1].failed > judging.repeats[0].failed:
        gain = replace(gain, verdict=Verdict.NOT_ENOUGH)
    return describe_gain(gain, judging, min(side.shape[1] for side in sides), least)


def shape_judging(
    end: SearchEnd, sides: list[SetOutcomes], other_metric: str | None, look: int | None = None
) -> Judging:
    """Return what is compared of two sets, trial 0 first."""
    repeats = [count_repeats(one.run_set, one.runs.values()) for one in sides]
    return Judging(end.best, measure_of(sides[0]), repeats, other_metric, look)


def why_not_judged(sides: list[SetOutcomes], outcomes: list[Outcomes | None]) -> str:
    """Return why two sets cannot be judged, "" where they can."""
    for side, found in zip(sides, outcomes, strict=True):
        if len(side.judged) < LEAST_REPEATS:
            return (
                f"not judged: of '{side.run_set.name}' {say_count(len(side.judged), 'repeats have')} finished, 2 "
                f"are needed"
            )
        if found is None:
            return f"not judged: the rows of '{side.run_set.name}' have no outcome of their own"
    rows = [side.judged[0].predictions["row_id"] for side in sides]
    return "" if rows[0].equals(rows[1]) else "not judged: trial 0 and the best were not judged on the same rows"


def _is_mean(sides: list[SetOutcomes], outcomes: list[Outcomes], metric: str) -> bool:
    """Tell whether a metric is the mean of the outcomes that are compared, told from its value in every repeat."""
    for side, found in zip(sides, outcomes, strict=True):
        for one, mean in zip(side.judged, found.mean(axis=0).tolist(), strict=True):
            value = value_of(one.run, metric)
            if value is None or not math.isclose(value, mean, rel_tol=_ROUNDING, abs_tol=_ROUNDING):
                return False
    return True


def _count_tried(standing: Standing) -> int:
    """Return how many configurations the rows have chosen from; one that was stopped on its way was looked at too."""
    own = [trial for trial in standing.trials if trial.reused_from is None]
    return sum(trial.value is not None or trial.state is TrialState.STOPPED for trial in own)


def _tell_luck(standing: Standing, end: SearchEnd, sides: list[SetOutcomes]) -> Json | None:
    """Return what the best had when it was chosen, and what it has under other seeds on the same rows."""
    chosen = standing.trials[end.best].value
    again = [value_of(one.run, standing.search.metric) for one in sides[1].judged] if len(sides) > 1 else []
    known = [value for value in again if value is not None]
    return {"metric": standing.search.metric, "chosen": chosen, "repeated": fmean(known)} if known else None


def _look_at_trials(records: Records, standing: Standing, end: SearchEnd, repeats: list[Outcomes]) -> Json:
    """Return `expected_luck`, and `near`: trials that are not distinguishable from the best, the cheapest of them."""
    import numpy as np

    from finetune30.service.statistics.luck import luck_of_best, near_best, seed_noise

    numbers, columns, is_right, runs, groups = load_trials(records, standing, end.best)
    if len(numbers) < 2:
        return {"expected_luck": None, "near": None}
    table = np.stack(columns, axis=1)
    if len(table) < 2:  # one row tells nothing of chance
        return {"expected_luck": None, "near": None}
    near = near_best(table, numbers.index(end.best), repeats, greater_is_better=is_right, groups=groups)
    found = [number for number, is_near in zip(numbers, near, strict=True) if is_near]
    sign = 1.0 if standing.search.greater_is_better else -1.0

    def cost(number: int) -> tuple[float, float, float, int]:
        parameters, rows = describe_cost(runs[number])
        return parameters, rows, -sign * (standing.trials[number].value or 0.0), number

    cheapest = min(found, key=cost)
    return {
        "expected_luck": {
            "size": luck_of_best(table, seed_noise(repeats), groups),
            "tried": len(numbers),
            "as_points": is_right,
        },
        "near": {
            "trials": found,
            "compared": len(numbers),
            "cheapest": cheapest,
            "costs": {str(number): list(describe_cost(runs[number])) for number in {cheapest, end.best}},
        },
    }


def describe_cost(run: Run) -> tuple[float, float]:
    """Return what a run costs wherever it is carried out: trainable parameters, then rows that it trained on."""
    metrics: Mapping[str, Any] = run.metrics or {}
    training = run.config["training"]
    batch = training["per_device_train_batch_size"] * training["gradient_accumulation_steps"]
    return float(metrics.get("trainable_parameters") or 0), float((metrics.get("total_steps") or 0) * batch)


def load_trials(
    records: Records, standing: Standing, best: int, most: int | None = None
) -> tuple[list[int], list[Outcomes], bool, dict[int, Run], Codes | None]:
    """Return the numbers of finished trials that were judged on the rows of the best, and what came of each row.

    Then whether rows are right or wrong, the runs of all that were looked at, and the groups of the rows. At most so
    many: the best, and those that ended last.
    """
    import polars as pl

    from finetune30.service.runs.outcomes import load_outcomes

    wanted = [one.number for one in standing.trials if one.state is TrialState.DONE and one.reused_from is None]
    if most is not None:
        wanted = sorted({best, *wanted[1 - most :]})
    runs = runs_of_trials(records.store, standing.search, wanted)
    found = {}
    for number in sorted(runs):
        try:
            found[number] = load_outcomes(records.require_folder(runs[number]).predictions)
        except StorageError:  # its files are gone: one trial fewer is compared
            continue
    if best not in found:
        return [], [], True, runs, None
    numbers = [number for number, one in found.items() if one.has_rows_of(found[best])]
    columns = [found[number].frame["outcome"].cast(pl.Float64).to_numpy() for number in numbers]
    return numbers, columns, not found[best].is_loss, runs, found[best].groups
