"""Supervising one attempt: keep its lease, watch it, stop it when asked, and record its end when it could not.

The attempt records its own end. Only where its process died without doing so does the supervisor speak for it, and
only while the row is still theirs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from finetune30 import failpoints
from finetune30.errors import AttemptError, Finetune30Error, NoProgressError, StaleAttemptError, StorageError
from finetune30.jobs.attempt_process import AttemptProcess
from finetune30.jobs.slots import DeviceSlots, Slot
from finetune30.settings import Settings
from finetune30.store import Claim, Lease, LeaseKeeper, Run, RunFolder, RunStore

_POLL_SECONDS = 0.2
_PROGRESS_POLL_SECONDS = 5.0
#: How long an attempt that recorded its own end may tidy up.
_LEAVE_SECONDS = 5.0

_log = logging.getLogger(__name__)


def claim_next(
    store: RunStore,
    owner: str,
    lease_seconds: float,
    slots: DeviceSlots,
    most_running: int | None = None,
    refuses: Callable[[Run], object] = lambda run: None,
) -> tuple[Claim, Slot] | None:
    """Claim the next waiting run that nobody else takes, with its places, which the caller gives back.

    None when none may be taken, or when the next one of those for which there are places at all has to wait for some:
    what is free is kept for it then, so that smaller runs behind it do not keep it waiting without end. Raises
    StorageError. `most_running`: see `RunStore.queue`. A run that `refuses` gives anything for is passed over.
    """
    passed: set[str] = set()
    most_places = len(slots.devices)
    while waiting := store.queue(10, most_running=most_running, most_places=most_places, after=len(passed)):
        for run in waiting:
            if refuses(run):
                passed.add(run.id)
                continue
            slot = slots.take(run.places)
            if slot is None:
                return None
            try:
                failpoints.reach("claim.before_row")
                claim = store.claim(run.id, owner=owner, lease_seconds=lease_seconds, most_running=most_running)
            except BaseException:
                slots.give_back(slot)
                raise
            if claim is not None:
                failpoints.reach("claim.after_row")
                return claim, slot
            slots.give_back(slot)
    return None


def supervise(
    store: RunStore,
    claim: Claim,
    settings: Settings,
    slot: Slot,
    stopping: threading.Event,
) -> None:
    """Carry a claimed run out in a process of its own, and see to it that its row tells how that ended.

    Setting `stopping` lets the attempt checkpoint and hand the run back. Raises StorageError when the database stays
    out of reach; a reconciler then finds the run by its lease.
    """
    keeper = LeaseKeeper(
        store, claim, lease_seconds=settings.lease_seconds, heartbeat_seconds=settings.heartbeat_seconds
    )
    with AttemptProcess(claim, slot) as process, keeper:
        devices = ", ".join(slot.devices)
        _log.info("run %s attempt %d: process %d on %s", claim.run_id, claim.attempt, process.pid, devices)
        hung = _Watch(store, claim, settings, process, keeper, stopping).wait_for_end()
        failpoints.reach("supervisor.after_end")
        process.kill()
        if not keeper.lost:
            _settle(store, claim, settings.lease_seconds, process, hung, stopping)
    _log.info("run %s attempt %d: process %d ended", claim.run_id, claim.attempt, process.pid)


class _Watch:
    """Waits for the end of an attempt and brings it about when it must be."""

    def __init__(
        self,
        store: RunStore,
        claim: Claim,
        settings: Settings,
        process: AttemptProcess,
        keeper: LeaseKeeper,
        stopping: threading.Event,
    ) -> None:
        self._store, self._claim, self._settings = store, claim, settings
        self._process, self._keeper, self._stopping = process, keeper, stopping
        self._asked_at: float | None = None
        self._sign_of_life: object = None
        self._alive_at = self._looked_at = time.monotonic()

    def wait_for_end(self) -> NoProgressError | None:
        """Return when the process has ended or was killed; an error when it was killed because it stood still."""
        while not self._process.wait(_POLL_SECONDS):
            now = time.monotonic()
            if self._keeper.lost:
                self._end_stale()
            elif self._stopping.is_set() or self._keeper.cancel_requested:
                self._stop(now)
            elif hung := self._find_hang(now):
                self._process.kill()
                self._process.wait(self._settings.stop_grace_seconds)
                return hung
        return None

    def _end_stale(self) -> None:
        """Kill an attempt that does not hold the run any more; one that recorded its own end may leave by itself."""
        if self._is_newest() and self._process.wait(_LEAVE_SECONDS):
            return
        _log.warning("run %s attempt %d lost its lease: killed", self._claim.run_id, self._claim.attempt)
        self._process.kill()

    def _is_newest(self) -> bool:
        try:
            return self._store.get(self._claim.run_id).attempt == self._claim.attempt
        except Finetune30Error:  # deleted, or the database is away: nothing to wait for
            return False

    def _stop(self, now: float) -> None:
        if self._asked_at is None:
            self._asked_at = now
            self._process.ask_to_stop()
        elif now - self._asked_at > self._settings.stop_grace_seconds:
            self._process.kill()

    def _find_hang(self, now: float) -> NoProgressError | None:
        limit = self._settings.no_progress_seconds
        if limit == 0 or now - self._looked_at < min(_PROGRESS_POLL_SECONDS, limit / 4):
            return None
        self._looked_at = now
        if (sign := self._look_for_life()) != self._sign_of_life:
            self._sign_of_life, self._alive_at = sign, now
        if now - self._alive_at < limit:
            return None
        run = self._claim.run_id[:8]
        return NoProgressError(
            f"attempt {self._claim.attempt} of run {run} took no step and wrote no line for {limit:.0f} s "
            "and was stopped",
            f"look at its log: ft30 runs logs {run}; if it only needs longer, raise FT30_NO_PROGRESS_SECONDS of its "
            f"worker (0: no limit), then: ft30 retry {run}",
        )

    def _look_for_life(self) -> object:
        """Return something that changes with every step and every line of the log."""
        try:
            run = self._store.get(self._claim.run_id)
            logs = RunFolder(self._settings.results_folder / run.folder).attempts / str(self._claim.attempt)
            return run.progress, _size(logs / "logs.txt")
        except StorageError:
            return time.monotonic()  # the database cannot tell; the lease decides meanwhile


def _settle(
    store: RunStore,
    claim: Claim,
    patience_seconds: float,
    process: AttemptProcess,
    hung: AttemptError | None,
    stopping: threading.Event,
) -> None:
    """Record the end of an attempt that did not do so itself; wait for the database as long as the lease may hold."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            lease = store.lease(claim)
            if lease.held:
                _record_end(store, claim, lease, hung or process.explain_end(), stopping)
            return
        except StaleAttemptError:
            return
        except StorageError as error:
            if time.monotonic() > deadline:
                raise
            _log.warning("waiting for the database: %s", error.message)
            time.sleep(min(1.0, patience_seconds / 10))


def _record_end(store: RunStore, claim: Claim, lease: Lease, error: AttemptError, stopping: threading.Event) -> None:
    if lease.cancel_requested:
        store.cancelled(claim)
    elif stopping.is_set() and not isinstance(error, NoProgressError):
        store.release(claim, "its worker stopped")
    else:
        _log.warning("%s", error.message)
        store.fail(claim, error.as_dict(), may_retry=error.retryable)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
