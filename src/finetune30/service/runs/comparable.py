"""Which runs can be compared row by row: groups that answered the very same rows, and why others are in none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune30.errors import StorageError
from finetune30.service.runs.kept_copies import find_published
from finetune30.service.runs.open_records import Records
from finetune30.service.runs.outcomes import Outcomes, load_outcomes
from finetune30.service.runs.sentences import name_apart
from finetune30.store import Run


@dataclass(frozen=True)
class Answered:
    """A run with what came of its evaluation rows; `place` is where it stands among those that are compared."""

    place: int
    run: Run
    outcomes: Outcomes


@dataclass(frozen=True)
class LeftOut:
    """A run that nothing can be compared with, and why; one that is unreadable has no outcomes at all."""

    run: Run
    reason: str
    is_unreadable: bool


Group = list[Answered]
Names = Mapping[str, str]


def group_runs(records: Records, runs: Sequence[Run]) -> tuple[list[Group], list[LeftOut]]:
    """Return groups of two or more runs, and the runs in none, both in the order of `runs`.

    A group answered the same rows with the same labels, and its outcomes are of one measure.
    """
    left_out: dict[int, LeftOut] = {}
    groups: list[Group] = []
    names = name_apart(runs)
    for place, run in enumerate(runs):
        found = _load(records, run, names[run.id])
        if isinstance(found, str):
            left_out[place] = LeftOut(run, found, is_unreadable=True)
            continue
        answered = Answered(place, run, found)
        fitting = next((group for group in groups if _obstacle(group[0], answered, names) is None), None)
        if fitting is None:
            groups.append([answered])
        else:
            fitting.append(answered)
    for alone in (group[0] for group in groups if len(group) == 1):
        left_out[alone.place] = LeftOut(alone.run, _explain(alone, groups, names), is_unreadable=False)
    return [group for group in groups if len(group) > 1], [left_out[place] for place in sorted(left_out)]


def _load(records: Records, run: Run, name: str) -> Outcomes | str:
    path = find_published(records, run).predictions
    if not path.is_file():
        return f"run {name} is {run.status} and has no predictions"
    try:
        outcomes = load_outcomes(path)
    except StorageError as error:
        return f"the predictions of run {name} {error.message}; {error.remedy.format(run=run.id[:8])}"
    return outcomes if outcomes.frame.height else f"run {name} was evaluated on no rows"


def _explain(alone: Answered, groups: Sequence[Group], names: Names) -> str:
    """Hold a run against the first of the largest other group."""
    others = [group for group in groups if group[0] is not alone]
    if not others:
        return f"no other run has predictions to hold against those of run {names[alone.run.id]}"
    first, second = sorted((max(others, key=len)[0], alone), key=lambda answered: answered.place)
    return _obstacle(first, second, names) or ""


def _obstacle(first: Answered, second: Answered, names: Names) -> str | None:
    """Return what keeps two runs from being compared row by row, None where nothing does."""
    one, other = names[first.run.id], names[second.run.id]
    before, after = first.outcomes, second.outcomes
    if not before.has_rows_of(after):
        common = len(set(before.frame["row_id"]) & set(after.frame["row_id"]))
        if (seed := _seed_that_parts(first.run, second.run)) is not None:
            return (
                f"the evaluation rows differ ({before.frame.height} in run {one}, {after.frame.height} in run "
                f"{other}, {common} in both): seeds chose them; set data.split_seed to {seed} and train all again"
            )
        return (
            f"the evaluation rows differ ({before.frame.height} in run {one}, {after.frame.height} in run "
            f"{other}, {common} in both); evaluate all on the same rows"
        )
    if not before.has_labels_of(after):
        if not before.has_predictions and not after.has_predictions:
            return f"run {one} and run {other} ask for other tokens of the same rows: their losses are of other things"
        return f"the labels of the evaluation rows differ between run {one} and run {other}"
    if before.measure != after.measure:
        return f"the rows of run {one} and run {other} are judged in other ways ({before.measure}, {after.measure})"
    return None


def _seed_that_parts(first: Run, second: Run) -> int | None:
    """Return the seed that chose the rows of the first, where the second's rows are other ones by its seed alone."""
    (before, seed), (after, other) = (_row_choice(run.config) for run in (first, second))
    return seed if seed != other and before == after else None


def _row_choice(config: Mapping[str, Any]) -> tuple[dict[str, Any], int | None]:
    """Return what a recorded configuration says of rows beside the seed that chooses them, and that seed."""
    data = dict(config.get("data", {}))
    split_seed = data.pop("split_seed", None)
    return data, config.get("training", {}).get("seed") if split_seed is None else split_seed
