"""Rows of several requests asked together: whatever waits when the model is free, up to a number of tokens.

There is no timer: an idle server answers at once, and load makes the batch. Rows are asked in the order in which they
came; those of one model together, shorter ones last. A request is answered when all of its rows are. Several batches
are computed at the same time where processors are left for it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune30.errors import Finetune30Error, NotFiniteError, QuotaError, ServiceUnavailableError
from finetune30.service.serving.asked import Row, TextModel

_AGAIN = "ask again in a moment, or start the server with a longer --max_queue_rows"

_log = logging.getLogger(__name__)


class DeadlineError(ServiceUnavailableError):
    """A request waited longer than it may."""

    code = "deadline_exceeded"
    http_status = 504


@dataclass(frozen=True)
class Limits:
    """How many tokens and rows are asked together, how many rows may wait, how long a request may take (seconds).

    `prompt_tokens`: the longest prompt of a language model. `batches`: how many are computed at the same time.
    """

    batch_tokens: int = 4096
    batch_rows: int = 64
    queue_rows: int = 1024
    deadline: float = 30.0
    prompt_tokens: int = 4096
    batches: int = 1


@dataclass(eq=False)
class _Request:
    model: TextModel
    count: int
    until: float
    answer: Future[NDArray[np.float32]] = field(default_factory=Future)
    found: dict[int, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for it."""
        return not self.answer.done() and time.monotonic() < self.until


@dataclass(frozen=True)
class _Waiting:
    request: _Request
    place: int
    row: Row


#: Told of every batch: rows, and tokens that are computed (padding with them).
Observe = Callable[[int, int], None]


class Batcher:
    """Threads that ask models, one a batch; `admit` and `ask` may be called from any."""

    def __init__(self, limits: Limits, observe: Observe = lambda rows, tokens: None) -> None:
        self._limits, self._observe = limits, observe
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closing, self._read = False, 0
        named = (f"batches {number}" for number in range(limits.batches))
        self._threads = [threading.Thread(target=self._work, name=name, daemon=True) for name in named]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Rows that wait."""
        return len(self._queue)

    @property
    def is_alive(self) -> bool:
        """Whether its threads are there."""
        return all(thread.is_alive() for thread in self._threads)

    @contextmanager
    def admit(self, count: int, limits: Limits | None = None) -> Iterator[None]:
        """Keep room for rows while they are read and asked; `limits`: those of the request, unset: those of all.

        Raises QuotaError where too many wait or are read already, ServiceUnavailableError once the batcher is closed.
        """
        with self._changed:
            self._require_open()
            taken = len(self._queue) + self._read
            if taken and taken + count > (limits or self._limits).queue_rows:
                raise QuotaError(f"{taken} rows wait, and {self._limits.queue_rows} may", _AGAIN)
            self._read += count
        try:
            yield
        finally:
            with self._changed:
                self._read -= count

    def ask(self, model: TextModel, rows: Sequence[Row], limits: Limits | None = None) -> Future[NDArray[np.float32]]:
        """Return the logits to come, float32 (n, outputs), in the order of the rows; `limits`: as for `admit`.

        Whoever does not wait for them any more cancels them. Raises ServiceUnavailableError once the batcher is
        closed. The answer raises DeadlineError, NotFiniteError, or what the model raised.
        """
        request = _Request(model, len(rows), time.monotonic() + (limits or self._limits).deadline)
        if not rows:
            request.answer.set_result(np.zeros((0, 0), dtype=np.float32))
            return request.answer
        with self._changed:
            self._require_open()
            self._queue.extend(_Waiting(request, place, row) for place, row in enumerate(rows))
            self._changed.notify(len(rows))
        return request.answer

    def close(self) -> None:
        """Answer what waits, then end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _require_open(self) -> None:
        if self._closing:
            raise ServiceUnavailableError("the server is being stopped", "ask another one, or again in a moment")

    def _work(self) -> None:
        while self._answer_next():
            pass

    def _answer_next(self) -> bool:
        """Ask what waits, once something does; False at the end. No model is held while nothing waits."""
        taken = self._take()
        groups: dict[int, list[_Waiting]] = {}
        for waiting in taken:
            groups.setdefault(id(waiting.request.model), []).append(waiting)
        for group in groups.values():
            self._answer(sorted(group, key=lambda one: -len(one.row.ids)))
        return bool(taken)

    def _take(self) -> list[_Waiting]:
        """Return the rows that are asked together next, in the order in which they came; none at the end."""
        taken: list[_Waiting] = []
        with self._changed:
            while not taken:
                while not self._queue:
                    if self._closing:
                        return []
                    self._changed.wait()
                while self._queue and self._fits(taken, self._queue[0]):
                    waiting = self._queue.popleft()
                    if waiting.request.is_wanted:
                        taken.append(waiting)
                    else:
                        _give_up(waiting.request)
        return taken

    def _fits(self, taken: Sequence[_Waiting], further: _Waiting) -> bool:
        if not taken:
            return True
        return len(taken) < self._limits.batch_rows and _cost([*taken, further]) <= self._limits.batch_tokens

    def _answer(self, group: Sequence[_Waiting]) -> None:
        try:
            logits = group[0].request.model.logits([one.row for one in group])
            self._observe(len(group), _cost(group))
            _share_out(group, logits)
        except Exception as error:  # noqa: BLE001 - whoever asked is told, whatever it is
            self._answer_apart(group, error)

    def _answer_apart(self, group: Sequence[_Waiting], error: Exception) -> None:
        """Ask the rows of each request by themselves, so that a fault fails only the request that it belongs to."""
        requests = list(dict.fromkeys(one.request for one in group))
        if len(requests) == 1:
            if not isinstance(error, Finetune30Error):
                _log.error("a batch of %d rows failed", len(group), exc_info=error)
            if not requests[0].answer.done():
                _settle(requests[0], error)
            return
        for request in requests:
            self._answer([one for one in group if one.request is request])


def count_batches() -> int:
    """Return how many batches the processors of this machine compute at the same time.

    One, on all of them, unless OMP_NUM_THREADS says that a batch has fewer: then as many as fill the machine.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, (os.cpu_count() or 1) // int(threads)) if threads.isdecimal() and int(threads) else 1


def late() -> DeadlineError:
    """Return the error of a request whose time is over."""
    return DeadlineError("the request took longer than it may", "ask less at a time, or start with --deadline")


def _share_out(group: Sequence[_Waiting], logits: NDArray[np.float32]) -> None:
    """Give every request its rows, and settle those that have all of theirs."""
    for waiting, found in zip(group, logits, strict=True):
        request = waiting.request
        request.found[waiting.place] = found
        if len(request.found) < request.count:
            continue
        whole = np.stack([request.found[place] for place in range(request.count)])
        unsound = int((~np.isfinite(whole).all(axis=1)).sum())
        said = f"the model failed: its numbers for {unsound} of {request.count} texts are not finite"
        _settle(request, NotFiniteError(said) if unsound else whole)


def _cost(rows: Sequence[_Waiting]) -> int:
    """Return the tokens that are computed for rows that are asked together."""
    lengths = [len(one.row.ids) for one in rows]
    return max(lengths) * len(lengths) if rows[0].request.model.pads else sum(lengths)


def _give_up(request: _Request) -> None:
    if not request.answer.done():
        _settle(request, late())


def _settle(request: _Request, outcome: Any) -> None:
    try:
        if isinstance(outcome, Exception):
            request.answer.set_exception(outcome)
        else:
            request.answer.set_result(outcome)
    except InvalidStateError:
        return  # whoever asked has gone in this moment
