"""Why a run waits: nobody works, or nobody who can read it, all places are busy, its submitter has as many running as
allowed, or it is next.
"""

from __future__ import annotations

from typing import Any

from finetune30.store import Run, RunStore
from finetune30.store.fair_queue import Place
from finetune30.store.workers import Worker, count_places, load_workers

#: Code -> what is said; the page has the same in its languages.
_WORDS = {
    "no_worker": "no worker is running; start one with: ft30 worker",
    "other_version": "no running worker can read its configuration ({fault}); start one of the version that recorded "
    "it, or cancel it: ft30 cancel {run}",
    "running_limit": "{owner} has {running} runs running, and FT30_MAX_RUNNING_RUNS allows {allowed} at a time",
    "places_busy": "all places are busy: {busy} of {places}; runs before it: {ahead}",
    "starting": "a worker with a free place takes it in a moment; runs before it: {ahead}",
}


def count_waits(store: RunStore, most_running: int | None) -> dict[str, int]:
    """Return code -> how many runs wait for that reason; every code of `explain_wait` is there.

    Of the runs that nothing holds, as many as there are free places are starting.
    """
    waiting = store.queue_places(most_running)
    workers = load_workers(store)
    taking = [worker for worker in workers if not worker.draining]
    nothing = dict.fromkeys(_WORDS, 0)
    if not taking:
        return nothing | {"no_worker": len(waiting)}
    refused = [run_id for run_id in taking[0].refused if run_id in waiting and _find_refusal(taking, run_id)]
    places, busy = count_places(store, workers)
    held = sum(place.is_held for run_id, place in waiting.items() if run_id not in refused)
    ready = len(waiting) - len(refused) - held
    starting = min(max(0, places - busy), ready)
    counts = {"other_version": len(refused), "running_limit": held, "places_busy": ready - starting}
    return nothing | counts | {"starting": starting}


def explain_wait(store: RunStore, run: Run, place: Place, most_running: int | None) -> dict[str, Any]:
    """Return why a QUEUED run has not begun: `code`, `message`, and the figures that the message names.

    `place` is where it stands in the queue; `most_running` what one submitter may have running (None: no limit).
    """
    workers = load_workers(store)
    taking = [worker for worker in workers if not worker.draining]
    places, busy = count_places(store, workers)
    facts: dict[str, Any] = {
        "ahead": place.number - 1,
        "busy": busy,
        "places": places,
        "running": store.count_running(run.submitted_by or ""),
        "allowed": most_running,
        "owner": run.submitted_by or "this machine",
        "fault": _find_refusal(taking, run.id),
    }
    if not taking:
        code = "no_worker"
    elif facts["fault"] is not None:
        code = "other_version"
    elif place.is_held:
        code = "running_limit"
    else:
        code = "places_busy" if busy >= places else "starting"
    return {"code": code, "message": _WORDS[code].format(**facts, run=run.id[:8]), **facts}


def _find_refusal(taking: list[Worker], run_id: str) -> str | None:
    """Return why all of these workers refuse the run; None when one of them would take it."""
    reasons = [worker.refused.get(run_id) for worker in taking]
    return next(iter(reasons), None) if all(reasons) else None
