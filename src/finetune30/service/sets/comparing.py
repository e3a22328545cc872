"""Whether two sets differ by more than chance: seeds on the same rows, or the same folds."""

from __future__ import annotations

from typing import Any

from finetune30.errors import ConflictError
from finetune30.service.runs.open_records import Records
from finetune30.service.sets.outcomes import SetOutcomes, load_set_outcomes
from finetune30.service.statistics import folds as fold_statistics
from finetune30.service.statistics import seeds as seed_statistics
from finetune30.service.statistics.groups import Codes, count_groups, groups_needed, join_groups, say_too_few
from finetune30.service.statistics.mcnemar import CONFIDENCE
from finetune30.service.statistics.sample_size import rows_needed
from finetune30.store.run_sets import RunSet
from finetune30.values import say_count

_SAME_ROWS = "make both on the same data with the same data.split_seed"


def compare_sets(records: Records, first: RunSet, second: RunSet) -> dict[str, Any]:
    """Return the verdict on two sets of one purpose, as JSON; `difference` is the second less the first.

    Of seeds what is compared is what came of each row (right or wrong, or a loss), of folds the score. Raises
    ConflictError where they are of other kinds, have other rows or too few finished runs.
    """
    if first.id == second.id:
        raise ConflictError(
            f"both are set {first.id[:8]} '{first.name}'", "of sets of one name write the ids: ft30 sets list"
        )
    if "curve" in (first.purpose, second.purpose):
        raise ConflictError(
            "a learning curve is compared with nothing: it tells what more rows bring to one configuration",
            "compare the configurations under several seeds: ft30 seeds FILE",
        )
    if first.purpose != second.purpose:
        raise ConflictError(f"a set of {first.purpose} and one of {second.purpose} cannot be compared", "compare like")
    one, other = load_set_outcomes(records, first), load_set_outcomes(records, second)
    for found in (one, other):
        if not found.judged:
            raise ConflictError(
                f"no run of set {found.run_set.id[:8]} has finished", "wait for its runs: ft30 sets show SET"
            )
    return _compare_folds(one, other) if first.purpose == "folds" else _compare_seeds(one, other)


def _compare_seeds(one: SetOutcomes, other: SetOutcomes) -> dict[str, Any]:
    before, after = one.outcomes(), other.outcomes()
    if before is None or after is None or not one.has_rows_of(other):
        raise ConflictError("the runs of the two sets were not judged on the same rows", _SAME_ROWS)
    if one.is_right_or_wrong != other.is_right_or_wrong:
        raise ConflictError("the rows of the two sets are judged in other ways", "compare sets of one problem")
    groups = join_groups([one.groups(), other.groups()])
    found = seed_statistics.compare_seeds(before, after, groups=groups)
    discordant = seed_statistics.discordant_share(before)
    needed = None
    if one.is_right_or_wrong and found.difference and groups is None:  # Connor's rows are independent
        needed = rows_needed(abs(found.difference), *([] if discordant is None else [discordant]))
    greater = one.is_right_or_wrong
    return _verdict(
        one,
        other,
        difference=found.difference,
        interval=found.interval,
        p_value=found.p_value,
        is_better_greater=greater,
        measured=_say_measured(found, before.shape[1], after.shape[1]),
        method=seed_statistics.METHOD if groups is None else seed_statistics.GROUP_METHOD,
        groups=groups,
        rows_needed=needed,
        as_points=greater,
    )


def _compare_folds(one: SetOutcomes, other: SetOutcomes) -> dict[str, Any]:
    scores = [{_place(found.entry): found.score for found in side.judged} for side in (one, other)]
    if {_place(entry) for entry in one.run_set.plan} != {_place(entry) for entry in other.run_set.plan}:
        raise ConflictError("the two sets have other folds", _SAME_ROWS)
    both = sorted(scores[0].keys() & scores[1].keys())
    if len(both) < 2:
        raise ConflictError(f"{say_count(len(both), 'folds have')} finished in both sets", "wait for the others")
    folds = max(entry["fold"] for entry in one.run_set.plan)
    found = fold_statistics.fold_mean([scores[1][place] - scores[0][place] for place in both], folds)
    score = one.problem.score
    return _verdict(
        one,
        other,
        difference=found.mean,
        interval=(found.low, found.high),
        p_value=found.p_value,
        is_better_greater=score.greater_is_better,
        measured=f"{say_count(len(both), 'folds')}",
        method=fold_statistics.METHOD,
        rows_needed=None,
        as_points=score.format == "percent",
    )


def _say_measured(found: seed_statistics.SeedComparison, seeds: int, others: int) -> str:
    if found.groups is None:
        return f"{say_count(found.rows, 'rows')}, {seeds} and {say_count(others, 'seeds')}"
    return (
        f"{say_count(found.rows, 'rows')}, by group, {say_count(found.groups, 'groups')}, {seeds} and "
        f"{say_count(others, 'seeds')}"
    )


def _place(entry: Any) -> tuple[int, int, str]:
    return entry["repeat"], entry["fold"], entry["dataset_digest"]


def _size(difference: float, *, as_points: bool) -> str:
    return f"{100 * abs(difference):.1f} points" if as_points else f"{abs(difference):.3g}"


def _say(
    better: str, worse: str, size: str, p_value: float, measured: str, rows_needed: int | None, *, apart: bool
) -> str:
    """Return the verdict in words; where chance is not ruled out, with the rows that would do it, if known."""
    if apart:
        return f"{better} is better than {worse} by {size} (p = {p_value:.3g}; {measured})"
    if rows_needed is None:
        return f"not distinguishable: {size} between {better} and {worse} (p = {p_value:.3g}; {measured})"
    return (
        f"not distinguishable: {size} between {better} and {worse} (p = {p_value:.3g}; {measured}); to see such a "
        f"difference take about {say_count(rows_needed, 'rows', ',')}"
    )


def _verdict(
    one: SetOutcomes,
    other: SetOutcomes,
    *,
    difference: float,
    interval: tuple[float, float] | None,
    p_value: float,
    is_better_greater: bool,
    measured: str,
    method: str,
    rows_needed: int | None,
    as_points: bool,
    groups: Codes | None = None,
) -> dict[str, Any]:
    """Return the verdict: the better set by name where chance is ruled out, else what it would take to see it.

    Of rows in too few groups there is none: `distinguishable` is None.
    """
    too_few = groups_needed(groups)
    apart = p_value < 1 - CONFIDENCE and too_few is None
    first, second = (f"'{side.run_set.name}' ({side.run_set.id[:8]})" for side in (one, other))
    gains = difference if is_better_greater else -difference
    better, worse = (second, first) if gains > 0 else (first, second)
    size = _size(difference, as_points=as_points)
    if too_few is not None:
        interval = None
        few = say_too_few(count_groups(groups) or 0, too_few)
        message = f"{few}; {better} leads {worse} by {size}"
    elif difference:
        message = _say(better, worse, size, p_value, measured, rows_needed, apart=apart)
    else:
        message = f"{first} and {second} are equal ({measured})"
    return {
        "first": one.run_set.id,
        "second": other.run_set.id,
        "distinguishable": apart if too_few is None else None,
        "groups": count_groups(groups),
        "groups_needed": too_few,
        "better": None if not (apart and difference) else (other if gains > 0 else one).run_set.id,
        "difference": difference,
        "interval": interval and list(interval),
        "p_value": p_value,
        "rows_needed": rows_needed,
        "method": method,
        "message": message,
    }
