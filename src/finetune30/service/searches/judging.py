"""What is said at the end of a search: best against default, the luck in the best, the cheapest that is as good."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Any

from finetune30.errors import StorageError
from finetune30.service.runs.open_records import Records
from finetune30.service.searches.standing import Standing, value_of
from finetune30.service.sets.outcomes import SetOutcomes, load_set_outcomes
from finetune30.service.statistics.gains import Gain, Verdict, judge_gain
from finetune30.service.statistics.seeds import METHOD
from finetune30.store import Run
from finetune30.store.run_sets import load_set
from finetune30.store.search_ends import SearchEnd
from finetune30.store.searches import TrialState, runs_of_trials

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Outcomes = NDArray[np.float64]

Json = dict[str, Any]


def judge_end(records: Records, standing: Standing, end: SearchEnd) -> Json:
    """Return what the evaluation rows say, as JSON: `verdict` (see `describe_gain`), `luck` and `near`.

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
        said = compare_sides(standing, end, repeats, sides[0].is_right_or_wrong, tried=_count_tried(standing))
    return {**said, "luck": _tell_luck(standing, end, sides), **_look_at_trials(records, standing, end, repeats)}


def compare_sides(standing: Standing, end: SearchEnd, sides: list[Outcomes], is_right: bool, *, tried: int) -> Json:
    """Judge outcomes of trial 0 and of the best trial on the same rows, (rows, seeds) each, and describe it."""
    least = standing.spec.confirm.least_gain * (1.0 if is_right else float(sides[0].mean()))
    gain = judge_gain(sides[0], sides[1], greater_is_better=is_right, tried=tried, least_gain=least)
    seeds = min(side.shape[1] for side in sides)
    return describe_gain(gain, end.best, seeds, least, as_points=is_right)


def describe_gain(gain: Gain, best: int, seeds: int, least: float, *, as_points: bool) -> Json:
    """Return a gain as JSON, `message` in words; sizes are shares of rows (`as_points`) or losses."""
    return {
        "verdict": str(gain.verdict),
        "message": _say(gain, best, seeds, as_points=as_points),
        "best": best,
        "gain": gain.gain,
        "interval": gain.interval and list(gain.interval),
        "p_rows": gain.p_rows,
        "p_seeds": gain.p_seeds,
        "p_value": gain.p_value,
        "rows": gain.rows,
        "seeds": seeds,
        "rows_needed": gain.rows_needed,
        "seeds_needed": gain.seeds_needed,
        "least_gain": least,
        "as_points": as_points,
        "method": METHOD,
    }


def why_not_judged(sides: list[SetOutcomes], outcomes: list[Outcomes | None]) -> str:
    """Return why two sets cannot be judged, "" where they can."""
    for side, found in zip(sides, outcomes, strict=True):
        if len(side.judged) < 2:
            return f"not judged: {len(side.judged)} repeats of '{side.run_set.name}' have finished, 2 are needed"
        if found is None:
            return f"not judged: the rows of '{side.run_set.name}' have no outcome of their own"
    rows = [side.judged[0].predictions["row_id"] for side in sides]
    return "" if rows[0].equals(rows[1]) else "not judged: trial 0 and the best were not judged on the same rows"


def _say(gain: Gain, best: int, seeds: int, *, as_points: bool) -> str:
    def size(value: float) -> str:
        return f"{100 * value:+.1f} points" if as_points else f"{value:+.3g}"

    found = f"trial {best}: {size(gain.gain)}, p = {gain.p_value:.3g}, {gain.rows:,} rows, {seeds} seeds"
    if gain.verdict is Verdict.BETTER:
        return f"better than the default ({found})"
    if gain.verdict is Verdict.KEEP_DEFAULT:
        return f"not distinguishable, keep the default: a gain that is worth a change is ruled out ({found})"
    if gain.rows_needed is not None:
        return f"not enough rows: about {gain.rows_needed:,} are needed ({found})"
    return f"not enough seeds: about {gain.seeds_needed:,} of each are needed ({found})"


def _count_tried(standing: Standing) -> int:
    """Return how many configurations the rows have chosen from."""
    return sum(trial.value is not None and trial.reused_from is None for trial in standing.trials)


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

    numbers, columns, is_right, runs = _load_trials(records, standing, end.best)
    if len(numbers) < 2:
        return {"expected_luck": None, "near": None}
    table = np.stack(columns, axis=1)
    near = near_best(table, numbers.index(end.best), repeats, greater_is_better=is_right)
    found = [number for number, is_near in zip(numbers, near, strict=True) if is_near]
    sign = 1.0 if standing.search.greater_is_better else -1.0

    def cost(number: int) -> tuple[float, float, float, int]:
        parameters, rows = describe_cost(runs[number])
        return parameters, rows, -sign * (standing.trials[number].value or 0.0), number

    cheapest = min(found, key=cost)
    return {
        "expected_luck": {
            "size": luck_of_best(table, seed_noise(repeats)),
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


def _load_trials(
    records: Records, standing: Standing, best: int
) -> tuple[list[int], list[Outcomes], bool, dict[int, Run]]:
    """Return the numbers of finished trials that were judged on the rows of the best, and what came of each row."""
    import polars as pl

    from finetune30.service.runs.outcomes import load_outcomes

    wanted = [one.number for one in standing.trials if one.state is TrialState.DONE and one.reused_from is None]
    runs = runs_of_trials(records.store, standing.search, wanted)
    found = {}
    for number in sorted(runs):
        try:
            found[number] = load_outcomes(records.require_folder(runs[number]).predictions)
        except StorageError:  # its files are gone: one trial fewer is compared
            continue
    if best not in found:
        return [], [], True, runs
    numbers = [number for number, one in found.items() if one.has_rows_of(found[best])]
    columns = [found[number].frame["outcome"].cast(pl.Float64).to_numpy() for number in numbers]
    return numbers, columns, not found[best].is_loss, runs
