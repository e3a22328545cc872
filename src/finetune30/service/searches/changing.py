"""Starting, stopping, resuming and deleting a search."""

from __future__ import annotations

from finetune30 import failpoints
from finetune30.errors import ConflictError, UsageError
from finetune30.service.runs.open_records import Records
from finetune30.service.searches.advancing import RUNNING, advance, cancel_runs, cancel_waiting
from finetune30.service.searches.ending import open_end
from finetune30.service.searches.plans import SearchPlan
from finetune30.service.searches.repeats import runs_of_end
from finetune30.service.searches.standing import Standing, load_standing
from finetune30.service.submitting.submission import Publisher
from finetune30.settings import Settings
from finetune30.store import RunStatus, RunStore
from finetune30.store.records import RunKind
from finetune30.store.search_ends import is_untested, list_ends, load_end
from finetune30.store.searches import (
    Search,
    SearchStatus,
    change_search,
    list_trials,
    record_search,
    remove_search,
)
from finetune30.values import say_count

#: People's own runs go first.
USUAL_PRIORITY = -10
_GOING = (RunStatus.QUEUED, RunStatus.RUNNING)
_OVER = (SearchStatus.STOPPED, SearchStatus.SUCCEEDED, SearchStatus.FAILED)


def write_search(
    store: RunStore, plan: SearchPlan, *, kind: RunKind, priority: int = USUAL_PRIORITY, submitted_by: str = ""
) -> Search:
    """Write the search before any of its trials; one that the same plan gave before is returned.

    Raises ConflictError where that one is carried out in the other way.
    """
    failpoints.reach("search.before_row")
    found = record_search(
        store,
        {
            "name": plan.config.experiment_name,
            "kind": kind,
            "request_sha256": plan.request_sha256,
            "submitted_by": submitted_by,
            "priority": priority,
            "config": plan.config.as_tree(),
            "explicit_keys": sorted(plan.explicit),
            "dataset_digest": plan.dataset_digest,
            "spec": plan.search.as_tree(),
            "metric": plan.metric,
            "greater_is_better": plan.greater_is_better,
        },
    )
    failpoints.reach("search.after_row")
    require_kind(found, kind)
    return found


def require_kind(search: Search, kind: RunKind) -> None:
    """Raise ConflictError where the trials of a search are carried out in the other way."""
    if search.kind != kind:
        where, remedy = (
            ("at a terminal", "add --here") if search.kind == "local" else ("by workers", "leave --here out")
        )
        raise ConflictError(f"the trials of search {search.id[:8]} '{search.name}' are carried out {where}", remedy)


def begin_search(store: RunStore, search: Search, settings: Settings, publisher: Publisher) -> None:
    """Hand the first trials in, which need no Optuna; workers take the search further."""
    if not list_trials(store, search.id):
        advance(store, search.id, settings, publisher)


def stop_search(store: RunStore, search: Search, *, now: bool = False) -> None:
    """Make no further suggestion; trials that are open go on, or with `now` are cancelled. Raises ConflictError."""
    is_stopped = change_search(store, search.id, RUNNING, status=SearchStatus.STOPPED, reason="it was stopped")
    standing = load_standing(store, search.id)
    end = open_end(store, standing)
    if not is_stopped and not (now and (standing.open or end)):
        raise ConflictError(
            f"search {search.id[:8]} is {standing.search.status}, and suggests nothing more",
            f"see it with: ft30 search show {search.id[:8]}",
        )
    if now:
        cancel_waiting(store, standing, running_too=True)
        cancel_runs(store, [] if end is None else runs_of_end(store, end), _GOING)


def resume_search(
    store: RunStore,
    search: Search,
    *,
    trials: int | None = None,
    hours: float | None = None,
    disk_gb: float | None = None,
) -> Standing:
    """Let a search go on, also for more trials, hours or space; runs that a stop cancelled are queued again.

    The trials that there are stay what they are. Raises UsageError for fewer trials, ConflictError where nothing is
    left to do or a run is still stopping.
    """
    standing = load_standing(store, search.id)
    spec = standing.spec
    if trials is not None and trials < len(standing.trials):
        raise UsageError(
            f"search {search.id[:8]} has {say_count(len(standing.trials), 'trials')} already, not {trials}",
            "give as many or more",
        )
    given = {name: value for name, value in (("hours", hours), ("disk_gb", disk_gb)) if value is not None}
    limits = spec.limits.model_copy(update=given)
    spec = spec.model_copy(update={"limits": limits} | ({} if trials is None else {"trials": trials}))
    status = standing.search.status
    if spec == standing.spec and _resume_end(store, standing):
        return standing
    goes_on_by_itself = status is RUNNING and search.kind != "local"  # a command that was killed left it RUNNING
    if spec == standing.spec and (goes_on_by_itself or status is SearchStatus.SUCCEEDED):
        done = "goes on already" if goes_on_by_itself else "has made all its trials"
        raise ConflictError(f"search {search.id[:8]} {done}", f"see it with: ft30 search show {search.id[:8]}")
    for trial in standing.open:
        run = standing.runs.get(trial.number)
        if run is not None and run.status is RunStatus.CANCELLED and not standing.is_stopped(trial.number):
            store.retry(run.id, pauses=True)
        elif run is not None and run.status is RunStatus.RUNNING and run.cancel_requested:
            raise ConflictError(f"trial {trial.number} is still stopping", "try again in a while")
    failpoints.reach("search.before_resume")
    counted = {"failures_from": standing.ended} if status is SearchStatus.FAILED else {}
    change_search(store, search.id, RUNNING, *_OVER, status=RUNNING, reason="", spec=spec.as_tree(), **counted)
    return load_standing(store, search.id)


def _resume_end(store: RunStore, standing: Standing) -> bool:
    """Queue cancelled and failed runs of the end under way again; tell whether the end has something left to do."""
    end, is_local = open_end(store, standing), standing.search.kind == "local"
    if end is None:
        judged = load_end(store, standing.search.id)
        return is_local and judged is not None and standing.search.status in _OVER and is_untested(store, judged)
    again = [run for run in runs_of_end(store, end) if run.status in (RunStatus.CANCELLED, RunStatus.FAILED)]
    for run in again if not is_local else []:
        store.retry(run.id)
    return bool(again) or is_local


def delete_search(records: Records, search: Search) -> list[str]:
    """Remove a search and its runs; return in words which runs were kept, and why. Raises ConflictError."""
    store = records.store
    standing = load_standing(store, search.id, all_runs=True)
    repeats = [run for end in list_ends(store, search.id) for run in runs_of_end(store, end)]
    runs = {run.id: run for run in (*standing.runs.values(), *repeats)}
    training = [run for run in runs.values() if run.status is RunStatus.RUNNING]
    waits = [run for run in repeats if run.status is RunStatus.QUEUED]
    if standing.search.status is RUNNING or training or waits:
        raise ConflictError(
            f"search {search.id[:8]} goes on ({say_count(len(training), 'runs are')} RUNNING) and cannot be deleted",
            f"stop it first: ft30 search stop {search.id[:8]} --now",
        )
    remove_search(store, search.id)
    kept = []
    for run in runs.values():
        try:
            store.delete(run.id, records.results_root)
        except ConflictError as error:
            kept.append(error.message)
    return kept
