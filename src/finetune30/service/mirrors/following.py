"""Following the runs: every mirror in a thread of its own looks for what its tracker does not know yet.

A tracker that is out of reach is asked again after ever longer pauses, and delays neither runs nor other mirrors; one
run that it refuses does not hold up the others.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence

from finetune30.errors import Finetune30Error, ServiceUnavailableError, StorageError, TrackerError
from finetune30.service.mirrors.carrying import carry_run
from finetune30.service.mirrors.protocol import Tracker
from finetune30.service.runs.open_records import Records
from finetune30.store.mirrors import (
    begin_following,
    is_to_carry,
    is_to_follow,
    load_behind,
    note_fault,
    note_following,
    note_look,
)
from finetune30.store.process_identity import own_identity

_LONGEST_PAUSE_SECONDS = 300.0
#: Until a thread that ended by itself is begun again, the first time.
_FIRST_PAUSE_SECONDS = 1.0
_TEND_SECONDS = 0.2
#: How often a process says that it follows its mirrors.
_SAY_SECONDS = 5.0
_LONGEST_FAULT = 500
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
                if not is_to_carry(self._records.store, run_id, self._tracker.name):
                    continue  # somebody stopped it since this look began
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
        """Look until told to stop; nothing is carried while the mirror is taken off (`stop_following`)."""
        pause = every_seconds
        while not stopping.is_set():
            try:
                if is_to_follow(self._records.store, self._tracker.name):
                    self.look(stopping)
                else:
                    self._say("it was taken off; to follow it again, start this command anew")
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


class _Watched:
    """A follower in a thread of its own, which is begun again, after ever longer pauses, where it ended by itself."""

    def __init__(self, records: Records, follower: Follower, name: str, every_seconds: float) -> None:
        self._records, self._follower, self.name = records, follower, name
        self._first_pause = self._pause = max(every_seconds, _FIRST_PAUSE_SECONDS)
        self._every_seconds = every_seconds
        self._begin_at = 0.0
        self._thread: threading.Thread | None = None
        self._fault: BaseException | None = None

    def tend(self, stopping: threading.Event) -> None:
        """Begin it where it does not run and its pause is over; note what ended it."""
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
            if time.monotonic() - self._begin_at > _LONGEST_PAUSE_SECONDS:
                self._pause = self._first_pause  # it went well for long: this is another trouble
            fault = "its thread ended" if self._fault is None else f"{type(self._fault).__name__}: {self._fault}"
            _log.error("%s: ended by itself: %s; begun again in %.0f s", self.name, fault, self._pause)
            self._begin_at = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
            note_fault(self._records.store, self.name, fault[:_LONGEST_FAULT])
        if self._thread is None and time.monotonic() >= self._begin_at:
            self._thread = threading.Thread(target=self._run, args=(stopping,), name=f"mirror-{self.name}")
            self._thread.start()

    def is_alive(self) -> bool:
        """Tell whether it runs now."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self, stopping: threading.Event) -> None:
        self._fault = None
        try:
            self._follower.follow(stopping, self._every_seconds)
        except BaseException as error:  # noqa: BLE001 - whoever tends it tells of it and begins again
            self._fault = error


def follow_all(
    records: Records,
    trackers: Sequence[Tracker],
    stopping: threading.Event,
    *,
    every_seconds: float,
    timeout_seconds: float,
) -> None:
    """Follow runs for every tracker until told to stop; what is being sent then is finished.

    A thread that ends by itself is noted with its mirror and begun again. Raises StorageError where the mirrors cannot
    be noted at the start.
    """
    for tracker in trackers:
        begin_following(records.store, tracker.name)
    watched = [
        _Watched(records, Follower(records, one, timeout_seconds=timeout_seconds), one.name, every_seconds)
        for one in trackers
    ]
    seen_at = -math.inf
    while not stopping.is_set():
        try:
            for one in watched:
                one.tend(stopping)
            if time.monotonic() - seen_at > _SAY_SECONDS:
                note_following(records.store, [one.name for one in watched if one.is_alive()], own_identity())
                seen_at = time.monotonic()
        except Finetune30Error as error:
            _log.warning("what became of the mirrors cannot be noted: %s", error.message)
        stopping.wait(_TEND_SECONDS)
    while any(one.is_alive() for one in watched):
        time.sleep(0.05)  # in pieces, so that a signal is handled
