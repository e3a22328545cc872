"""Whether the processes of one training live, what ended them, and what the first one tells the others.

Each process writes a sign of life into the store at which they met, every second or two, and reads those of the others.
So a process that waits for another one knows whether that one is slow (it goes on giving signs: no time is too long for
a first load, an evaluation, a checkpoint) or lost (it gave none for the time-out). A sign also counts the sums that a
process has entered: where all have entered one and it does not end within the time-out, the network between them is
gone. Backends alone cannot tell: gloo notices a closed connection, but no pulled cable; NCCL notices neither.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from finetune30.errors import (
    CancelledError,
    Finetune30Error,
    PeerLostError,
    ServiceUnavailableError,
    first_line,
)
from finetune30.restored_errors import restore_error
from finetune30.training.leaving import leave_at_once_at_exit

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

_T = TypeVar("_T")
_LONGEST_BEAT_SECONDS = 2.0
_BEATS_PER_TIMEOUT = 8
#: How often a waiting process looks around.
LOOK_SECONDS = 0.2
#: How long a process that ends waits until the others know; torchrun kills after 30 s.
_FAREWELL_SECONDS = 20.0
_AGAIN = "try again: what was trained up to the last checkpoint is kept"


@dataclass(frozen=True)
class Identity:
    """A process: its owner string, and what is known of such strings (dead: True, False, or None for unknown)."""

    owner: str
    is_dead: Callable[[str], bool | None]
    describe: Callable[[str], str]


@dataclass
class _Sign:
    """The newest sign of a process, and when it last changed by this process's clock."""

    text: bytes
    changed_at: float
    owner: str = ""
    entered: int = 0
    has_order: bool = False
    ended: dict[str, Any] | None = None
    left: bool = False


class Peers:
    """The processes of one training, seen from one of them; `open_store` gives a connection of one's own each time."""

    def __init__(
        self,
        open_store: Callable[[], Store],
        rank: int,
        world_size: int,
        identity: Identity,
        *,
        timeout_seconds: float,
    ) -> None:
        self.rank, self.world_size = rank, world_size
        self.store = open_store()
        self._beats = open_store()  # a connection waits for its answer, so signs have one of their own
        self._identity, self._timeout = identity, timeout_seconds
        self._interval = min(_LONGEST_BEAT_SECONDS, timeout_seconds / _BEATS_PER_TIMEOUT)
        self._signs: list[_Sign] = []
        self._count = self._entered = 0
        self._has_order = False
        self._ended: dict[str, Any] | None = None
        self._leaves = self._has_said_end = self._has_said_that_it_leaves = False
        self._exchanged_at = time.monotonic()
        self._store_is_gone = False
        self._all_entered: tuple[int, float] | None = None
        self._wake, self._closed = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="peers", daemon=True)

    def meet(self) -> None:
        """Give the first sign and wait for those of all others; returns when all are here."""
        try:
            call_and_look(self._exchange, _nothing)
        except RuntimeError as error:
            missing = [n for n in self._others() if not self.store.check([f"sign/{n}"])]
            raise ServiceUnavailableError(
                f"{len(missing)} of {self.world_size} processes did not come: {', '.join(map(str, missing))}",
                "see that all are started with the same WORLD_SIZE, MASTER_ADDR and MASTER_PORT",
            ) from error
        self._thread.start()

    @property
    def per_host(self) -> list[int]:
        """The number of processes on each host, in the order of their ranks."""
        hosts = [sign.owner.rpartition(":")[0].rpartition(":")[0] for sign in self._signs]
        return [hosts.count(host) for host in dict.fromkeys(hosts)]

    @property
    def local_rank(self) -> int:
        """The number of this process among those of its host."""
        hosts = [sign.owner.rpartition(":")[0].rpartition(":")[0] for sign in self._signs]
        return hosts[: self.rank].count(hosts[self.rank])

    # --- what the first one tells

    def tell(self, order: dict[str, Any]) -> None:
        """Say what is to be trained (process 0)."""
        self.store.set("order", json.dumps(order))
        self._has_order = True
        self._wake.set()

    def hear(self, check: Callable[[], None]) -> dict[str, Any]:
        """Wait for what process 0 tells. Raises its error where it refuses, PeerLostError; `check` may raise too."""
        while not self._signs[0].has_order:
            check()
            self.require_all()
            time.sleep(LOOK_SECONDS / 2)
        told: dict[str, Any] = json.loads(self.store.get("order"))
        return told

    # --- waiting for the others

    def enter(self) -> None:
        """Note that a sum over all processes begins here."""
        self._entered += 1

    def require_all(self, *, waits: bool = False) -> None:
        """Raise what ended another process, or PeerLostError; `waits`: this one waits in the sum it entered last."""
        fault = self._find_fault()
        if fault is None and waits:
            fault = self._find_cut()
        if fault is not None:
            raise fault

    def explain(self, error: BaseException) -> Finetune30Error:
        """Return who is behind a broken connection: waits until the one that gives no more signs is known."""
        before = [sign.text for sign in self._signs]
        deadline = time.monotonic() + 3 * self._interval + 1.0
        while time.monotonic() < deadline:
            if fault := self._find_fault():
                return fault
            time.sleep(LOOK_SECONDS)
        silent = [n for n in self._others() if self._signs[n].text == before[n]] or self._others()
        reason = first_line(error)
        return self._lost(silent, f"{self._name(silent)} of {self.world_size} broke off the connection: {reason}")

    def wait_for(self, call: Callable[[], _T]) -> _T:
        """Return what a call gives that may block for long, and look after the others meanwhile."""
        return call_and_look(call, self.require_all)

    # --- the end

    def end(self, error: BaseException | None) -> None:
        """Say that this process ends, and how.

        After an error the others wait for the first one, which says why; the first one, at whose store all may have
        met, waits until the others have left.
        """
        self._ended = {} if error is None else _shape_of(error)
        self._wake.set()
        if self.rank == 0:
            self._wait_until(lambda: all(self._signs[n].left or self._is_away(n) for n in self._others()))
            return
        if error is not None:
            self._wait_until(lambda: self._signs[0].ended is not None or self._is_away(0))
        self._leaves = True
        self._wake.set()
        self._wait_until(lambda: self._has_said_that_it_leaves)

    def _wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait until the others know what this one has said and something is so, as long as a launcher lets us."""
        deadline = time.monotonic() + _FAREWELL_SECONDS / (2 if self.rank == 0 else 1)
        while not self._store_is_gone and time.monotonic() < deadline:
            if (self._has_said_end and is_so()) or time.monotonic() - self._exchanged_at > self._timeout:
                return
            time.sleep(LOOK_SECONDS / 4)

    def first_has_ended(self) -> bool:
        """Tell whether process 0 has said that it ends, so that it has said why as well."""
        return bool(self._signs) and self._signs[0].ended is not None

    def close(self, error: BaseException | None = None) -> None:
        """Give no more signs; `error` is what ends this process."""
        self._closed = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(self._interval + 1.0)
        if self._thread.is_alive():  # its sign went to a store that does not answer
            leave_at_once_at_exit(error)

    # --- private

    def _run(self) -> None:
        while not self._closed and not self._has_said_that_it_leaves:
            is_brisk = self._ended is not None or not self._signs[0].has_order  # somebody waits for every word
            self._wake.wait(min(LOOK_SECONDS, self._interval) if is_brisk else self._interval)
            self._wake.clear()
            try:
                self._exchange()
            except RuntimeError:  # the store's server is gone, and with it whoever ran it
                self._store_is_gone = True
                return

    def _exchange(self) -> None:
        """Give a sign and read those of all; the first time this waits until all have given one."""
        self._count += 1
        ended, leaves = self._ended, self._leaves
        sign = {
            "beat": self._count,
            "owner": self._identity.owner,
            "entered": self._entered,
            "order": self._has_order,
            "ended": ended,
            "left": leaves,
        }
        self._beats.set(f"sign/{self.rank}", json.dumps(sign))
        if leaves:  # process 0 may be gone from here on, and the store with it: nothing is asked there any more
            self._has_said_end = self._has_said_that_it_leaves = True
            return
        texts = self._beats.multi_get([f"sign/{rank}" for rank in range(self.world_size)])
        now = time.monotonic()
        signs = self._signs or [_Sign(b"", now) for _ in texts]
        for known, text in zip(signs, texts, strict=True):
            if text != known.text:
                told = json.loads(text)
                known.text, known.changed_at, known.owner = text, now, told["owner"]
                known.entered, known.has_order, known.ended = told["entered"], told["order"], told["ended"]
                known.left = told["left"]
        self._signs, self._exchanged_at = signs, now
        self._has_said_end = ended is not None

    def _others(self) -> list[int]:
        return [rank for rank in range(self.world_size) if rank != self.rank]

    def _is_dead(self, rank: int) -> bool:
        return self._identity.is_dead(self._signs[rank].owner) is True

    def _is_away(self, rank: int) -> bool:
        return self._is_dead(rank) or time.monotonic() - self._signs[rank].changed_at > self._timeout

    def _find_fault(self) -> Finetune30Error | None:
        for rank in self._others():
            if ended := self._signs[rank].ended:
                return self._ended_by(rank, ended)
        going = [rank for rank in self._others() if self._signs[rank].ended is None]
        if dead := [rank for rank in going if self._is_dead(rank)]:
            return self._lost(dead, f"{self._name(dead)} of {self.world_size} is gone")
        first, size, seconds = self._name([0]), self.world_size, f"{self._timeout:.0f}"
        if self._store_is_gone:
            return self._lost([0], f"{first} of {size}, or its launcher, closed the store at which all meet")
        if time.monotonic() - self._exchanged_at > self._timeout:
            return self._lost([0], f"{first} of {size} gave no answer for {seconds} s, nor did the store beside it")
        now = time.monotonic()
        if silent := [rank for rank in going if now - self._signs[rank].changed_at > self._timeout]:
            return self._lost(silent, f"{self._name(silent)} of {size} gave no sign of life for {seconds} s")
        return None

    def _find_cut(self) -> PeerLostError | None:
        """Return an error where all have entered this process's sum for the time-out and it does not end."""
        now = time.monotonic()
        if any(self._signs[rank].entered < self._entered for rank in self._others()):
            return None
        if self._all_entered is None or self._all_entered[0] != self._entered:
            self._all_entered = self._entered, now
        if now - self._all_entered[1] <= self._timeout:
            return None
        others, seconds = self._others(), f"{self._timeout:.0f}"
        return self._lost(
            others, f"{self._name(others)} of {self.world_size} lives, but nothing of it arrived for {seconds} s"
        )

    def _ended_by(self, rank: int, ended: dict[str, Any]) -> Finetune30Error:
        error = restore_error(ended)
        if rank != 0:  # what process 0 says is said by itself
            error.message = f"process {rank} ({self._identity.describe(self._signs[rank].owner)}): {error.message}"
        return error

    def _name(self, ranks: list[int]) -> str:
        return ", ".join(f"process {n} ({self._identity.describe(self._signs[n].owner)})" for n in ranks)

    def _lost(self, ranks: list[int], message: str) -> PeerLostError:
        return PeerLostError(
            message,
            _AGAIN,
            details={"lost": [{"rank": n, "host": self._signs[n].owner.partition(":")[0]} for n in ranks]},
            next_step="resume",
        )


def connect(address: str, port: int, *, opens: bool, prefix: str, seconds: float) -> Callable[[], Store]:
    """Return a function that opens a connection to the store at an address; with `opens` this process serves it.

    Raises ServiceUnavailableError when nobody answers in time.
    """
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    def open_store(serves: bool = False) -> TCPStore:
        return TCPStore(
            address, port, None, serves, timedelta(seconds=seconds), wait_for_workers=False, multi_tenant=True
        )

    def call(serves: bool = False) -> TCPStore:
        try:
            return call_and_look(lambda: open_store(serves), _nothing)
        except RuntimeError as error:
            raise ServiceUnavailableError(
                f"the processes of this training did not meet at {address}:{port} (they wait for {seconds:.0f} s): "
                f"{first_line(error)}",
                "see that all are started, and that every host reaches that address",
            ) from error

    server = call(serves=True) if opens else None

    def connection() -> Store:
        nonlocal server
        store, server = server or call(), None
        return PrefixStore(prefix, store)

    return connection


def call_and_look(call: Callable[[], _T], look: Callable[[], None]) -> _T:
    """Return what a blocking call gives; it runs in a thread, so that signals and `look` are heard meanwhile."""
    done: list[_T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again where it was called
            failed.append(error)

    thread = threading.Thread(target=run, name="waiting", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(LOOK_SECONDS)
            if thread.is_alive():
                look()
    except BaseException as error:
        leave_at_once_at_exit(error)
        raise
    if failed:
        raise failed[0]
    return done[0]


def _nothing() -> None:
    """Nobody is known yet."""


def _shape_of(error: BaseException) -> dict[str, Any]:
    if isinstance(error, Finetune30Error):
        return error.as_dict()
    if isinstance(error, KeyboardInterrupt):
        return CancelledError("interrupted").as_dict()
    return Finetune30Error(f"{type(error).__name__}: {error}", "see what it printed").as_dict()
