"""Why a run waits: nobody works, places are busy or too few, its submitter is at the limit, or it is about to begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune30.store import Run, RunStore
from finetune30.store.fair_queue import Place
from finetune30.store.workers import load_workers

#: Code -> what is said; the page has the same in its languages.
_WORDS = {
    "no_worker": "no worker is running; start one with: ft30 worker",
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
    """The places of one worker: all of them, those that are free, and whether these are kept for a larger run."""

    places: int
    free: int
    is_kept: bool = False


def count_waits(store: RunStore, most_running: int | None) -> dict[str, int]:
    """Return code -> how many runs wait for that reason; every code of `explain_wait` is there."""
    counted = Counter(code for _, code in _foresee(store.queue_places(most_running), _load_rooms(store)))
    return {code: counted[code] for code in _WORDS}


def explain_wait(store: RunStore, run: Run, place: Place, most_running: int | None) -> dict[str, Any]:
    """Return why a QUEUED run has not begun: `code`, `message`, and the figures that the message names.

    `place` is where it stands in the queue; `most_running` what one submitter may have running (None: no limit).
    """
    rooms = _load_rooms(store)
    foreseen = _foresee({**store.queue_places(most_running), run.id: place}, rooms)
    code = next(code for run_id, code in foreseen if run_id == run.id)
    places = sum(room.places for room in rooms)
    facts: dict[str, Any] = {
        "ahead": place.number - 1,
        "busy": sum(store.busy_places().values()),
        "places": places,
        "needed": place.needed,
        "largest": max((room.places for room in rooms), default=0),
        "running": store.count_running(run.submitted_by or ""),
        "allowed": most_running,
        "owner": run.submitted_by or "this machine",
    }
    return {"code": code, "message": _WORDS[code].format(**facts), **facts}


def _foresee(waiting: Mapping[str, Place], rooms: Sequence[_Room]) -> Iterator[tuple[str, str]]:
    """Yield id and code of every waiting run in its order, as the workers will deal with them; `rooms` are used up."""
    largest = max((room.places for room in rooms), default=0)
    for run_id, place in waiting.items():
        if not rooms:
            yield run_id, "no_worker"
        elif place.is_held:
            yield run_id, "running_limit"
        elif place.needed > largest:
            yield run_id, "too_few_places"
        else:
            yield run_id, _deal(place.needed, rooms)


def _deal(needed: int, rooms: Sequence[_Room]) -> str:
    """Give a run its places where they are free; else let every worker that is large enough keep its free ones."""
    able = [room for room in rooms if room.places >= needed]
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


def _load_rooms(store: RunStore) -> list[_Room]:
    busy = store.busy_places()
    workers = load_workers(store)
    return [_Room(len(worker.slots), max(0, len(worker.slots) - busy.get(worker.owner, 0))) for worker in workers]
