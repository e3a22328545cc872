"""What a submitter follows: where the run waits, how far it is, how it ended and whether a retry may help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from finetune30.errors import Finetune30Error, NotFoundError
from finetune30.service.submitting.waiting import explain_wait
from finetune30.store import Run, RunStatus, RunStore

RUN_ID = re.compile(r"[0-9a-f]{32}")


def load_task(store: RunStore, task_id: str, most_running: int | None = None) -> dict[str, Any]:
    """Return the JSON of one task. Raises NotFoundError for anything but the full id of a run.

    `most_running`: how many runs one submitter may have running at a time (None: no limit).
    """
    if not RUN_ID.fullmatch(task_id):
        raise NotFoundError(f"there is no task {task_id[:64]!r}", "a task id has 32 hexadecimal digits")
    run = store.get(task_id)
    place = store.queue_place(task_id, most_running) if run.status is RunStatus.QUEUED else None
    if place is None:
        return describe_task(run, None)
    return describe_task(run, place.number, explain_wait(store, run, place, most_running))


def describe_task(run: Run, queue_position: int | None, waiting: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the JSON of a task: state, place in the queue, progress, result or error, times (ISO 8601, UTC).

    `waiting` says why it has not begun (see `explain_wait`).
    """
    return {
        "task_id": run.id,
        "experiment_id": run.id,
        "experiment_name": run.name,
        "status": str(run.status),
        "queue_position": queue_position,
        "waiting": waiting,
        "priority": run.priority,
        "attempt": run.attempt,
        "cancel_requested": run.cancel_requested,
        "progress": run.progress,
        "result": run.metrics if run.status is RunStatus.SUCCEEDED else None,
        "error": describe_error(run.error, run.status),
        **run.stand_ins,
        "folder": run.folder,
        "device": run.device,
        "precision": run.precision,
        "submitted_by": run.submitted_by,
        "worker": run.lease_owner if run.status is RunStatus.RUNNING else None,
        "created_at": _iso(run.created_at),
        "queued_at": _iso(run.queued_at),
        "started_at": _iso(run.started_at),
        "finished_at": _iso(run.finished_at),
    }


def describe_error(error: dict[str, Any] | None, status: RunStatus) -> dict[str, Any] | None:
    """Return the card of an error: code, message, remedy, `cause` (a class of errors) and whether a retry may help.

    While a run is QUEUED or RUNNING again, its error tells why the attempt before was lost.
    """
    if error is None or status is RunStatus.SUCCEEDED:
        return None
    known = _classes().get(str(error.get("error")))
    return {
        **error,
        "cause": known.cause if known else "unknown",
        "retry_may_help": known.retryable if known else False,
    }


def _classes() -> dict[str, type[Finetune30Error]]:
    return {kind.code: kind for kind in _descendants(Finetune30Error)}


def _descendants(kind: type[Finetune30Error]) -> Iterator[type[Finetune30Error]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _descendants(below)


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
