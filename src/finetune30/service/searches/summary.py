"""What a search says: its trials with their values, the best of them, how far it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from finetune30.service.searches.advancing import hours_of
from finetune30.service.searches.ending import open_end
from finetune30.service.searches.pace import expect_end
from finetune30.service.searches.repeats import load_repeats, runs_of_end
from finetune30.service.searches.standing import Standing, load_standing
from finetune30.store import RunStore
from finetune30.store.records import utc_now
from finetune30.store.search_ends import SearchEnd, list_tests, load_end
from finetune30.store.searches import Search, Trial, list_trials
from finetune30.values import say_count


def describe_search(store: RunStore, search: Search) -> dict[str, Any]:
    """Return a search with its trials as JSON; `best` is None while none has a value."""
    standing = load_standing(store, search.id, all_runs=True)
    best, now = standing.best, utc_now()
    ends_at = expect_end(standing, now)
    return {
        **standing.search.as_dict(),
        "planned": standing.planned if standing.has_known_length else None,
        "counts": count_states(standing.trials),
        "size_bytes": standing.size_bytes,
        "hours": hours_of(standing, now),
        "ends_at": None if ends_at is None else ends_at.isoformat(),
        "trials": [_describe_trial(standing, trial) for trial in standing.trials],
        "rungs": [row.as_dict() for row in standing.rungs.values()],
        "best": None if best is None else _describe_trial(standing, best),
        "end": _describe_end(store, standing),
        "importance": _describe_importance(standing),
    }


def summarize_search(store: RunStore, search: Search) -> dict[str, Any]:
    """Return a search without its trials, as JSON for a list."""
    return {**search.as_dict(), "counts": count_states(list_trials(store, search.id))}


def count_states(found: Iterable[Any], name: str = "state") -> dict[str, int]:
    """Return how many trials (or runs, by `status`) are in each state, of the states that there are."""
    return dict(Counter(str(getattr(one, name)) for one in found))


def _describe_end(store: RunStore, standing: Standing) -> dict[str, Any] | None:
    """Return the end of a search: what is repeated, what the evaluation rows say, and every opening of the test rows.

    `waits`: why nothing is said yet though no repeat goes on; `test_rows`: why they were not opened for this end. Both
    are "" where there is nothing to say.
    """
    end = load_end(store, standing.search.id)
    if end is None:
        return None
    return {
        "tried": end.tried,
        "best": end.best,
        "sets": end.sets,
        "runs": count_states(runs_of_end(store, end), "status"),
        "waits": _say_wait(store, standing, end) if open_end(store, standing) is not None else "",
        "verdict": end.verdict,
        "test_rows": _say_unopened(store, end),
        "tests": [test.as_dict() for test in list_tests(store, end.search_id)],
    }


def _say_wait(store: RunStore, standing: Standing, end: SearchEnd) -> str:
    """Return why an end waits for somebody, and the command that takes it further."""
    command = f"ft30 search resume {end.search_id[:8]}{' --here' if standing.search.kind == 'local' else ''}"
    for number, one in zip((0, end.best), load_repeats(store, end), strict=False):
        if one.have_to_be_taken_up and one.failed:
            return (
                f"{one.failed} of {say_count(one.planned, 'repeats')} of trial {number} failed: {one.reason}\n"
                f"it is judged once they have been repeated: {command}"
            )
        if one.have_to_be_taken_up:
            return (
                f"{one.cancelled} of {say_count(one.planned, 'repeats')} of trial {number} were cancelled\n"
                f"it is judged once they have been repeated: {command}"
            )
    return ""


def _say_unopened(store: RunStore, end: SearchEnd) -> str:
    """Return why the test rows were not opened for an end; "" where they were, or nothing is said of it yet."""
    tests = list_tests(store, end.search_id)
    if end.judged_at is None or any(test.tried == end.tried for test in tests):
        return ""
    if end.left_unopened is not None:
        return f"not opened: {end.left_unopened}"
    if not tests:
        return "not opened yet"
    return (
        f"not opened again: look {len(tests) + 1} would count {say_count(len(tests) + 1, 'times')}\n"
        f"take it with: ft30 search test {end.search_id[:8]}"
    )


def _describe_importance(standing: Standing) -> dict[str, Any]:
    """Return of each parameter the share of the variance of the values, and the line that chance rarely passes."""
    from finetune30.service.statistics.importance import measure_importance

    known = [one for one in standing.trials if one.value is not None and one.labels and one.reused_from is None]
    labels: dict[str, list[float | None]] = {
        key: [None if key not in standing.space.settle(one.labels or {}) else (one.labels or {})[key] for one in known]
        for key in standing.space.parameters
    }
    ranges = frozenset(key for key, one in standing.spec.parameters.items() if one.values is None)
    found = measure_importance([one.value for one in known if one.value is not None], labels, ranges)
    return {key: {"share": one.share, "line": one.line, "stands_out": one.stands_out} for key, one in found.items()}


def _describe_trial(standing: Standing, trial: Trial) -> dict[str, Any]:
    run = standing.run_of(trial)
    return {
        "number": trial.number,
        "state": str(trial.state),
        "value": trial.value,
        "parameters": trial.parameters,
        "reused_from": trial.reused_from,
        "model_removed": trial.model_removed,
        "reason": trial.reason,
        "run_id": None if run is None else run.id,
        "run_status": None if run is None else str(run.status),
    }
