"""Following the runs: every mirror in a thread of its own looks for what its tracker does not know yet.

A tracker that is out of reach is asked again after ever longer pauses, and delays neither runs nor other mirrors; one
run that it refuses does not hold up the others.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from finetune30.errors import Finetune30Error, ServiceUnavailableError, StorageError, TrackerError
from finetune30.service.mirrors.carrying import carry_run
from finetune30.service.mirrors.protocol import Tracker
from finetune30.service.runs.open_records import Records
from finetune30.store.mirrors import begin_following, load_behind, note_look

_LONGEST_PAUSE_SECONDS = 300.0
_log = logging.getLogger(__name__)


class Follower:
    """Carries to one tracker what is new, look by look."""

    def __init__(self, records: Records, tracker: Tracker, *, timeout_seconds: float) -> None:
        self._records, self._tracker, self._timeout_seconds = records, tracker, timeout_seconds
        self._trouble = ""

    def look(self, stopping: threading.Event | None = None) -> int:
        """Carry every run that the tracker does not know in full; return how many were taken up before `stopping`.

        Raises ServiceUnavailableError when the tracker is out of reach, StorageError.
        """
        taken, was_asked = 0, False
        try:
            for run_id in load_behind(self._records.store, self._tracker.name):
                if stopping is not None and stopping.is_set():
                    break
                taken += 1
                was_asked |= self._carry(run_id)
        except ServiceUnavailableError as error:
            note_look(self._records.store, self._tracker.name, error.message)
            raise
        note_look(self._records.store, self._tracker.name, None, was_asked=was_asked)
        if was_asked:
            self._say("")
        return taken

    def _carry(self, run_id: str) -> bool:
        """Return whether the tracker was asked anything, and answered."""
        try:
            return carry_run(self._records, run_id, self._tracker, timeout_seconds=self._timeout_seconds).was_asked
        except (ServiceUnavailableError, StorageError):
            raise
        except TrackerError as error:  # noted with the run, as what comes next
            _log.warning("%s: run %s: %s", self._tracker.name, run_id[:8], error.message)
            return True
        except Finetune30Error as error:
            _log.warning("%s: run %s: %s", self._tracker.name, run_id[:8], error.message)
        except Exception:  # noqa: BLE001 - one run that nobody thought of holds up no other
            _log.exception("%s: run %s", self._tracker.name, run_id[:8])
        return False

    def follow(self, stopping: threading.Event, every_seconds: float) -> None:
        """Look until told to stop."""
        pause = every_seconds
        while not stopping.is_set():
            try:
                self.look(stopping)
                pause = every_seconds
            except Finetune30Error as error:
                self._say(error.message)
                pause = min(pause * 2, max(_LONGEST_PAUSE_SECONDS, every_seconds))
            stopping.wait(pause)
        self._tracker.close()

    def _say(self, trouble: str) -> None:
        """Log a trouble when it begins, changes or ends."""
        if trouble != self._trouble:
            _log.warning("%s: %s", self._tracker.name, trouble or f"over: {self._trouble}")
            self._trouble = trouble


def follow_all(
    records: Records,
    trackers: Sequence[Tracker],
    stopping: threading.Event,
    *,
    every_seconds: float,
    timeout_seconds: float,
) -> None:
    """Follow runs for every tracker until told to stop; what is being sent then is finished. Raises StorageError."""
    for tracker in trackers:
        begin_following(records.store, tracker.name)
    followers = [Follower(records, tracker, timeout_seconds=timeout_seconds) for tracker in trackers]
    threads = [
        threading.Thread(target=one.follow, args=(stopping, every_seconds), name=f"mirror-{tracker.name}")
        for one, tracker in zip(followers, trackers, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(1.0)  # in pieces, so that a signal is handled
