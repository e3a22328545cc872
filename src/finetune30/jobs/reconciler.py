"""Looking after runs: what nobody carries out goes on, and what waits without a message gets one.

Runs in every worker and in the API. Every step is a guarded change of a row, so any number of reconcilers may work at
the same time, and none of them has to be there all the time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from finetune30.errors import Finetune30Error, ServiceUnavailableError
from finetune30.store import Change, RunStore

#: Messages sent in one look; the next look sends more.
MOST_MESSAGES = 100

_log = logging.getLogger(__name__)


class MessageQueue(Protocol):
    """What the reconciler needs of the queue."""

    def publish(self, run_id: str) -> None:
        """Send one message, or raise ServiceUnavailableError."""
        ...

    def count_waiting(self) -> int:
        """Return how many messages wait, or raise ServiceUnavailableError."""
        ...


def reconcile_once(
    store: RunStore, messages: MessageQueue, results_root: Path, reconcile_seconds: float
) -> list[Change]:
    """Requeue lost runs, send the messages that are missing, remove what was deleted; return the changes of runs.

    Raises StorageError. Redis out of reach is logged: the rows stay, and so does the work to do.
    """
    changes = store.reconcile()
    for change in changes:
        _log.warning("run %s attempt %d -> %s: %s", change.run_id, change.attempt, change.to_status, change.reason)
    try:
        republish_missing(store, messages, reconcile_seconds)
    except ServiceUnavailableError as error:
        _log.warning("%s", error.message)
    store.purge_deleted(results_root)
    return changes


def republish_missing(store: RunStore, messages: MessageQueue, reconcile_seconds: float) -> int:
    """Send messages for waiting runs that never had one and, when the queue is empty, for all that wait for long.

    Any message makes a worker take the first waiting run, so a queue that is not empty needs no further message, and
    the queue never grows beyond one message a run by much. Returns how many were sent.
    """
    never = [run for run in store.queue(MOST_MESSAGES, unpublished_since=datetime.fromtimestamp(0, UTC))]
    waiting = never
    if not never and messages.count_waiting() == 0:
        waiting = store.queue(
            MOST_MESSAGES, unpublished_since=datetime.now(UTC) - timedelta(seconds=reconcile_seconds)
        )
    for run in waiting:
        messages.publish(run.id)
    if waiting:
        store.mark_published([run.id for run in waiting])
        _log.info("sent %d missing message(s)", len(waiting))
    return len(waiting)


class Reconciler:
    """A thread that calls `work` every `seconds`, at once when woken, and outlives every fault of the machine."""

    def __init__(self, work: Callable[[], object], seconds: float) -> None:
        self._work, self._seconds = work, seconds
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin, with a first look at once."""
        self._thread.start()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def stop(self) -> None:
        """End after the look that is under way."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                self._work()
            except (Finetune30Error, OSError) as error:
                _log.warning("look for lost runs failed: %s", error)
            except Exception:
                _log.exception("look for lost runs failed")
            self._wake.wait(self._seconds)
