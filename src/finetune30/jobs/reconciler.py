"""Looking after runs: what nobody carries out goes on, and what waits without a message gets one.

Runs in every worker and in the API. Every step is a guarded change of a row, so any number of reconcilers may work at
the same time, and none of them has to be there all the time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from finetune30.errors import Finetune30Error, ServiceUnavailableError
from finetune30.settings import Settings
from finetune30.store import Change, RunStore

#: Messages sent in one look; the next look sends more.
MOST_MESSAGES = 100
_STOP_SECONDS = 30.0

_log = logging.getLogger(__name__)


class MessageQueue(Protocol):
    """What the reconciler needs of the queue."""

    def publish(self, run_id: str) -> None:
        """Send one message, or raise ServiceUnavailableError."""
        ...

    def count_waiting(self) -> int:
        """Return how many messages wait, or raise ServiceUnavailableError."""
        ...


def republish_missing(store: RunStore, messages: MessageQueue, reconcile_seconds: float) -> int:
    """Send messages for waiting runs that never had one and, when the queue is empty, for all that wait for long.

    Any message makes a worker take the first waiting run, so a queue that is not empty needs no further message, and
    the queue never grows beyond one message a run by much. Returns how many were sent.
    """
    never = store.unpublished(MOST_MESSAGES, datetime.fromtimestamp(0, UTC))
    waiting = never
    if not never and messages.count_waiting() == 0:
        waiting = store.unpublished(MOST_MESSAGES, datetime.now(UTC) - timedelta(seconds=reconcile_seconds))
    for run in waiting:
        messages.publish(run.id)
    if waiting:
        store.mark_published([run.id for run in waiting])
        _log.info("sent %d missing message(s)", len(waiting))
    return len(waiting)


class Reconciler:
    """A thread that looks every `reconcile_seconds`, at once when woken, and outlives every fault of the machine.

    One look requeues lost runs, sends the messages that are missing and removes what was deleted. `before` and `after`
    are the owner's own work around it.
    """

    def __init__(
        self,
        store: RunStore,
        messages: MessageQueue,
        settings: Settings,
        before: Callable[[], object] | None = None,
        after: Callable[[], object] | None = None,
    ) -> None:
        self._store, self._messages, self._settings = store, messages, settings
        self._before, self._after = before, after
        self._trouble = ""
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
        self._thread.join(timeout=_STOP_SECONDS)

    def look(self) -> list[Change]:
        """Look once; return the changes of runs. Raises StorageError; Redis out of reach only delays messages."""
        if self._before:
            self._before()
        changes = self._store.reconcile(2 * self._settings.heartbeat_seconds)
        for change in changes:
            _log.warning("run %s attempt %d -> %s: %s", change.run_id, change.attempt, change.to_status, change.reason)
        trouble = ""
        try:
            republish_missing(self._store, self._messages, self._settings.reconcile_seconds)
        except ServiceUnavailableError as error:
            trouble = error.message
        self._tell(trouble)
        if self._after:
            self._after()
        self._store.purge_deleted(self._settings.results_folder)
        return changes

    def _run(self) -> None:
        is_first = True
        while not self._stopping:
            self._wake.clear()
            try:
                self.look()
                if is_first:  # only a killed process leaves one: once in the life of each that looks is often enough
                    self._store.remove_unused_folders(self._settings.results_folder)
                    is_first = False
            except (Finetune30Error, OSError) as error:
                self._tell(str(error))
            except Exception:  # noqa: BLE001 - the thread must outlive what nobody thought of
                _log.exception("a look at the runs failed")
            self._wake.wait(self._settings.reconcile_seconds)

    def _tell(self, trouble: str) -> None:
        """Log a trouble when it begins, changes or ends, not every time it is met."""
        if trouble != self._trouble:
            _log.warning("%s", trouble or f"over: {self._trouble}")
            self._trouble = trouble
