"""What a search says: its trials with their values, the best of them, how far it is."""

from __future__ import annotations

from collections import Counter
from typing import Any

from finetune30.service.searches.advancing import hours_of
from finetune30.service.searches.standing import Standing, load_standing
from finetune30.store import RunStore
from finetune30.store.records import utc_now
from finetune30.store.searches import Search, Trial, list_trials


def describe_search(store: RunStore, search: Search) -> dict[str, Any]:
    """Return a search with its trials as JSON; `best` is None while none has a value."""
    standing = load_standing(store, search.id, all_runs=True)
    best = standing.best
    return {
        **standing.search.as_dict(),
        "planned": None if standing.spec.trials is None and standing.spec.sampler != "grid" else standing.planned,
        "counts": count_states(standing.trials),
        "size_bytes": standing.size_bytes,
        "hours": hours_of(standing.runs.values(), utc_now()),
        "trials": [_describe_trial(standing, trial) for trial in standing.trials],
        "best": None if best is None else _describe_trial(standing, best),
    }


def summarize_search(store: RunStore, search: Search) -> dict[str, Any]:
    """Return a search without its trials, as JSON for a list."""
    return {**search.as_dict(), "counts": count_states(list_trials(store, search.id))}


def count_states(trials: Any) -> dict[str, int]:
    """Return how many trials are in each state, of the states that there are."""
    return dict(Counter(str(trial.state) for trial in trials))


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
