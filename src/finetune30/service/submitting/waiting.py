"""Why a run waits: nobody works, or nobody who can read it, places are busy or too few, its submitter is at the limit,
or it is about to begin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune30.store import Run, RunStore
from finetune30.store.fair_queue import Place
from finetune30.store.workers import Worker, count_places, load_workers
from finetune30.values import filled

#: Code -> what is said; the page has the same in its languages.
_WORDS = {
    "no_worker": "no worker is running; start one with: ft30 worker",
    "other_version": "no running worker can read its configuration ({fault}); start one of the version that recorded "
    "it, or cancel it: ft30 cancel {run}",
    "running_limit": "{owner} has {running} runs running, and FT30_MAX_RUNNING_RUNS allows {allowed} at a time",
    "too_few_places": "it needs {needed} places of one worker (training.processes), and the largest has {largest}; "
    "start a worker with as many (on CPUs: ft30 worker --concurrency {needed}), or submit it anew with fewer processes",
    "gathering": "it needs {needed} places of one worker at a time; free ones are kept until there are as many; busy "
    "are {busy} of {places}; runs before it: {ahead}",
    "places_kept": "free places are kept for a run before it that needs several at a time; runs before it: {ahead}",
    "places_busy": "all places are busy: {busy} of {places}; runs before it: {ahead}",
    "starting": "a worker with a free place takes it in a moment; runs before it: {ahead}",
}


@dataclass
class _Room:
    """The places of a worker that takes runs: all of them, those that are free, and whether these are kept for a larger
    run; and the runs that it refuses: id -> why.
    """

    places: int
    free: int
    refused: Mapping[str, str]
    is_kept: bool = False


def count_waits(store: RunStore, most_running: int | None) -> dict[str, int]:
    """Return code -> how many runs wait for that reason; every code of `explain_wait` is there."""
    rooms = _load_rooms(store, load_workers(store))
    counted = Counter(code for _, code in _foresee(store.queue_places(most_running), rooms))
    return {code: counted[code] for code in _WORDS}


def explain_wait(store: RunStore, run: Run, place: Place, most_running: int | None) -> dict[str, Any]:
    """Return why a QUEUED run has not begun: `code`, `message`, and the figures that the message names.

    `place` is where it stands in the queue; `most_running` what one submitter may have running (None: no limit).
    """
    workers = load_workers(store)
    rooms = _load_rooms(store, workers)
    foreseen = _foresee({**store.queue_places(most_running), run.id: place}, rooms)
    code = next(code for run_id, code in foreseen if run_id == run.id)
    places, busy = count_places(store, workers)
    facts: dict[str, Any] = {
        "ahead": place.number - 1,
        "busy": busy,
        "places": places,
        "needed": place.needed,
        "largest": max((room.places for room in rooms if run.id not in room.refused), default=0),
        "running": store.count_running(run.submitted_by or ""),
        "allowed": most_running,
        "owner": run.submitted_by or "this machine",
        "fault": _find_refusal(rooms, run.id),
    }
    return {"code": code, "message": filled(_WORDS[code], {**facts, "run": run.id[:8]}), **facts}


def _foresee(waiting: Mapping[str, Place], rooms: Sequence[_Room]) -> Iterator[tuple[str, str]]:
    """Yield id and code of every waiting run in its order, as the workers will deal with them; `rooms` are used up."""
    for run_id, place in waiting.items():
        readers = [room for room in rooms if run_id not in room.refused]
        if not rooms:
            yield run_id, "no_worker"
        elif not readers:
            yield run_id, "other_version"
        elif place.is_held:
            yield run_id, "running_limit"
        else:
            yield run_id, _deal(place.needed, [room for room in readers if room.places >= place.needed])


def _deal(needed: int, able: Sequence[_Room]) -> str:
    """Give a run its places where they are free; else let every worker that is large enough keep its free ones."""
    if not able:
        return "too_few_places"
    for room in able:
        if room.free >= needed and not room.is_kept:
            room.free -= needed
            return "starting"
    has_free = any(room.free for room in able)
    for room in able:
        room.is_kept = True
    if needed > 1:
        return "gathering"
    return "places_kept" if has_free else "places_busy"


def _find_refusal(rooms: Sequence[_Room], run_id: str) -> str | None:
    """Return why all workers refuse a run; None where one would take it, or there is none."""
    reasons = [room.refused.get(run_id) for room in rooms]
    return next(iter(reasons), None) if all(reasons) else None


def _load_rooms(store: RunStore, workers: Sequence[Worker]) -> list[_Room]:
    """Return the places of the workers that take something new; a draining one takes nothing."""
    busy = store.busy_places()
    return [
        _Room(len(worker.slots), max(0, len(worker.slots) - busy.get(worker.owner, 0)), worker.refused)
        for worker in workers
        if not worker.draining
    ]
