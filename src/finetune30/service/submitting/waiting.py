"""Why a run waits: nobody works, all places are busy, its submitter has as many running as allowed, or it is next."""

from __future__ import annotations

from typing import Any

from finetune30.store import Run, RunStore
from finetune30.store.fair_queue import Place
from finetune30.store.workers import load_workers

#: Code -> what is said; the page has the same in its languages.
_WORDS = {
    "no_worker": "no worker is running; start one with: ft30 worker",
    "running_limit": "{owner} has {running} runs running, and FT30_MAX_RUNNING_RUNS allows {allowed} at a time",
    "places_busy": "all places are busy: {busy} of {places}; runs before it: {ahead}",
    "starting": "a worker with a free place takes it in a moment; runs before it: {ahead}",
}


def count_waits(store: RunStore, most_running: int | None) -> dict[str, int]:
    """Return code -> how many runs wait for that reason; every code of `explain_wait` is there.

    Of the runs that nothing holds, as many as there are free places are starting.
    """
    waiting = store.queue_places(most_running)
    held = sum(place.is_held for place in waiting.values())
    places, busy = _count_places(store), store.count_running()
    free = min(max(0, places - busy), len(waiting) - held)
    rest = len(waiting) - held - free
    if places == 0:
        return {**dict.fromkeys(_WORDS, 0), "no_worker": len(waiting)}
    return {"no_worker": 0, "running_limit": held, "places_busy": rest, "starting": free}


def explain_wait(store: RunStore, run: Run, place: Place, most_running: int | None) -> dict[str, Any]:
    """Return why a QUEUED run has not begun: `code`, `message`, and the figures that the message names.

    `place` is where it stands in the queue; `most_running` what one submitter may have running (None: no limit).
    """
    running, busy = store.count_running(run.submitted_by or ""), store.count_running()
    places = _count_places(store)
    facts: dict[str, Any] = {
        "ahead": place.number - 1,
        "busy": busy,
        "places": places,
        "running": running,
        "allowed": most_running,
        "owner": run.submitted_by or "this machine",
    }
    if places == 0:
        code = "no_worker"
    elif place.is_held:
        code = "running_limit"
    else:
        code = "places_busy" if busy >= places else "starting"
    return {"code": code, "message": _WORDS[code].format(**facts), **facts}


def _count_places(store: RunStore) -> int:
    return sum(len(worker.slots) for worker in load_workers(store))
