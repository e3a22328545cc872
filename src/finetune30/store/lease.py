"""Keeping a lease alive from a thread of the process that carries a run out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from finetune30 import failpoints
from finetune30.errors import StorageError
from finetune30.store.records import Claim, Lease
from finetune30.store.run_store import RunStore

DEFAULT_LEASE_SECONDS = 60.0
DEFAULT_HEARTBEAT_SECONDS = 10.0
DEFAULT_POLL_SECONDS = 2.0

#: An attempt that could not renew for this share of its lease gives itself up, before anybody else may take the run.
_GIVE_UP_SHARE = 0.75

_T = TypeVar("_T")


class LeaseKeeper:
    """Renews a claim's lease, writes progress and learns of cancellation, in the background.

    Use it as a context manager around the work. `cancel_requested` and `lost` turn true at most `poll_seconds` after
    the database knows. `lost` also turns true when no renewal worked for three quarters of the lease, also where the
    database does not answer at all, as behind a cable that was pulled. The callbacks run once, in the keeper's thread.
    """

    def __init__(
        self,
        store: RunStore,
        claim: Claim,
        *,
        lease_seconds: float = DEFAULT_LEASE_SECONDS,
        heartbeat_seconds: float = DEFAULT_HEARTBEAT_SECONDS,
        poll_seconds: float = DEFAULT_POLL_SECONDS,
        on_cancel: Callable[[], None] | None = None,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._claim = claim
        self._lease_seconds = lease_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._poll_seconds = min(poll_seconds, heartbeat_seconds)
        self._on_cancel = on_cancel
        self._on_lost = on_lost
        self._progress: dict[str, Any] | None = None
        self._progress_lock = threading.Lock()
        self._stop = threading.Event()
        self._cancel = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lease-{claim.run_id[:8]}", daemon=True)

    @property
    def cancel_requested(self) -> bool:
        """Whether the run was asked to stop."""
        return self._cancel.is_set()

    @property
    def lost(self) -> bool:
        """Whether this attempt must stop without publishing."""
        return self._lost.is_set()

    def report(self, progress: dict[str, Any]) -> None:
        """Hand over the newest progress; it is written with the next poll. Cheap enough for every step."""
        with self._progress_lock:
            self._progress = progress

    def insist(self, change: Callable[[], _T]) -> _T:
        """Make a change of the row; where the database is out of reach, again until the lease must be given up.

        Raises StorageError then, and at once whatever else the change raises.
        """
        deadline = time.monotonic() + self._lease_seconds * _GIVE_UP_SHARE
        while True:
            try:
                return change()
            except StorageError:
                if self._lost.wait(self._poll_seconds) or time.monotonic() > deadline:
                    raise

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._progress is not None and not self.lost:
            with suppress(StorageError):  # recording the end, which follows, says when the database is out of reach
                self._store.renew(self._claim, self._lease_seconds, self._progress)

    def _run(self) -> None:
        try:
            self._keep()
        except BaseException:
            self._lost.set()  # without a keeper nobody may go on
            raise

    def _keep(self) -> None:
        questions = ThreadPoolExecutor(1, thread_name_prefix=self._thread.name)
        try:
            self._ask_until_stopped(questions)
        finally:
            questions.shutdown(wait=False)  # one that nobody answers ends with its connection

    def _ask_until_stopped(self, questions: ThreadPoolExecutor) -> None:
        renewed_at, silence = time.monotonic(), _Silence(self._poll_seconds)
        while not self._stop.wait(self._poll_seconds) and not self.lost:
            with self._progress_lock:
                progress, self._progress = self._progress, None
            asked_at = time.monotonic()
            due = asked_at - renewed_at >= self._heartbeat_seconds - self._poll_seconds / 2
            renews = progress is not None or due
            try:
                lease = self._wait_for(questions.submit(self._ask, renews, progress), silence)
            except StorageError as error:
                self._keep_for_later(progress)
                if silence.measure() > self._lease_seconds * _GIVE_UP_SHARE:
                    self._tell_lost(f"the database was out of reach for too long: {error.message}")
                continue
            if renews:
                renewed_at = asked_at
                silence.begin(asked_at)
            if not lease.held:
                self._tell_lost("another attempt holds the run")
            elif lease.cancel_requested and not self._cancel.is_set():
                self._cancel.set()
                if self._on_cancel:
                    self._on_cancel()

    def _ask(self, renews: bool, progress: dict[str, Any] | None) -> Lease:
        if not renews:
            return self._store.lease(self._claim)
        failpoints.reach("heartbeat")
        return self._store.renew(self._claim, self._lease_seconds, progress)

    def _wait_for(self, answer: Future[Lease], silence: _Silence) -> Lease:
        """Return the answer; raises StorageError also where none comes until the lease must be given up."""
        while not wait([answer], timeout=self._poll_seconds).done:
            if silence.measure() > self._lease_seconds * _GIVE_UP_SHARE:
                raise StorageError("it did not answer")
        return answer.result()

    def _keep_for_later(self, progress: dict[str, Any] | None) -> None:
        with self._progress_lock:
            if self._progress is None:
                self._progress = progress

    def _tell_lost(self, reason: str) -> None:
        self._lost.set()
        if self._on_lost:
            self._on_lost(reason)


class _Silence:
    """Seconds for which no renewal has worked. Those in which the whole process was paused count as one look."""

    def __init__(self, look_seconds: float) -> None:
        self._longest_look = max(2 * look_seconds, 1.0)
        self.begin(time.monotonic())

    def begin(self, moment: float) -> None:
        """Count from a moment of `time.monotonic` on."""
        self._seconds, self._looked_at = 0.0, moment

    def measure(self) -> float:
        """Return the seconds until now."""
        now = time.monotonic()
        self._seconds += min(now - self._looked_at, self._longest_look)
        self._looked_at = now
        return self._seconds
