"""Where the waiting runs stand, for all who ask: derived anew when a run has changed.

A run that was submitted meanwhile is put in between where that moves few others, all of its own submitter: deriving the
order takes longer the more runs wait.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, bindparam, select

from finetune30.store.event_tail import Seen, look, look_again
from finetune30.store.fair_queue import NO_LIMIT, WAITS, Place, order_waiting
from finetune30.store.tables import runs

#: Nothing is believed for longer, in case the rows of runs were changed by hand.
MOST_SECONDS = 10.0
#: A run that comes before so many others of its submitter moves them all: deriving anew is less work.
MOST_MOVED = 50
#: What `_Waiting` begins with.
_READ = (runs.c.id, runs.c.submitted_by, runs.c.priority, runs.c.queued_at, runs.c.places)
_MADE = select(*_READ).where(runs.c.id.in_(bindparam("ids", expanding=True)), *WAITS)
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class _Waiting:
    """A waiting run; what its submitter has when its turn comes: `number`, `share` and `served`, see `fair_queue`."""

    id: str
    submitted_by: str
    priority: int
    queued_at: datetime
    places: int
    number: int
    share: int
    served: datetime | None
    is_held: bool

    @property
    def turn(self) -> tuple[Any, ...]:
        """What the runs of all submitters are ordered by, as in `fair_queue.order_waiting`."""
        served = self.served or _NEVER
        return bool(self.is_held), -self.priority, self.share, served, self.queued_at, self.id

    @property
    def after(self) -> tuple[int, int]:
        """Return `number` and `share` of the next run of its submitter."""
        return self.number + 1, self.share + self.places

    @property
    def own_turn(self) -> tuple[Any, ...]:
        """What the runs of one submitter are ordered by."""
        return -self.priority, self.queued_at, self.id


@dataclass(frozen=True)
class _Queue:
    """The waiting runs, as they are taken and by submitter in the order of each; `turns` are those of `runs`."""

    runs: list[_Waiting]
    turns: list[tuple[Any, ...]]
    by_id: dict[str, _Waiting]
    by_submitter: dict[str, list[_Waiting]]

    @cached_property
    def places(self) -> dict[str, Place]:
        return {run.id: _place_of(run, number) for number, run in enumerate(self.runs, 1)}

    def find(self, run_id: str) -> Place | None:
        run = self.by_id.get(run_id)
        return None if run is None else _place_of(run, bisect_left(self.turns, run.turn) + 1)

    def copy(self) -> _Queue:
        by_submitter = {name: list(own) for name, own in self.by_submitter.items()}
        return _Queue(list(self.runs), list(self.turns), dict(self.by_id), by_submitter)

    def put_in(self, row: Any, most_running: int | None) -> bool:
        """Put one more run in; tell whether that could be done without asking the database about its submitter."""
        if row.id in self.by_id:  # derived a moment after the look at the events
            return True
        own = self.by_submitter.get(row.submitted_by, [])
        at = bisect_left(own, (-row.priority, row.queued_at, row.id), key=lambda run: run.own_turn)
        if not own or len(own) - at > MOST_MOVED:
            return False
        first, moved = own[0], own[at:]
        number, share, served = first.number, first.share, first.served
        for run in moved:
            self._take_out(run)
        del own[at:]
        new = _Waiting(row.id, row.submitted_by, row.priority, row.queued_at, row.places, number, share, served, False)
        for run in (new, *moved):
            number, share = own[-1].after if own else (number, share)
            run = replace(run, number=number, share=share, is_held=number > (most_running or NO_LIMIT))
            own.append(run)
            self._insert(run)
        return True

    def _take_out(self, run: _Waiting) -> None:
        at = bisect_left(self.turns, run.turn)
        del self.runs[at], self.turns[at], self.by_id[run.id]

    def _insert(self, run: _Waiting) -> None:
        at = bisect_left(self.turns, run.turn)
        self.runs.insert(at, run)
        self.turns.insert(at, run.turn)
        self.by_id[run.id] = run


class Places:
    """The places of one database's waiting runs; safe to share between threads."""

    def __init__(self) -> None:
        self._known: _Known | None = None
        self._deriving = threading.Lock()

    def load(self, connection: Connection, most_running: int | None) -> Mapping[str, Place]:
        """Return id -> place of every waiting run, in order."""
        return self._load_queue(connection, most_running).places

    def find(self, connection: Connection, run_id: str, most_running: int | None) -> Place | None:
        """Return the place of one run; None when it does not wait."""
        return self._load_queue(connection, most_running).find(run_id)

    def _load_queue(self, connection: Connection, most_running: int | None) -> _Queue:
        known = self._bring_up_to_date(connection, most_running)
        if known is None:
            with self._deriving:
                known = self._bring_up_to_date(connection, most_running)  # another thread may have derived it meanwhile
                known = known or _derive(connection, most_running)
                self._known = known
        return known.queue

    def _bring_up_to_date(self, connection: Connection, most_running: int | None) -> _Known | None:
        """Return what is known with the events since then; None where the order has to be derived anew."""
        known = self._known
        if known is None or known.most_running != most_running or time.monotonic() - known.derived_at > MOST_SECONDS:
            return None
        seen, events = look_again(connection, known.seen)
        if events is None or any(event.kind != "created" for event in events):
            return None
        if events:
            queue = known.queue.copy()
            rows: Any = connection.execute(_MADE, {"ids": [event.run_id for event in events]})
            if not all(queue.put_in(row, most_running) for row in rows):
                return None
            known = replace(known, seen=seen, queue=queue)
            self._known = known
        return known


@dataclass(frozen=True)
class _Known:
    seen: Seen
    most_running: int | None
    derived_at: float
    queue: _Queue


def _derive(connection: Connection, most_running: int | None) -> _Known:
    seen, derived_at, order = look(connection), time.monotonic(), order_waiting(most_running)
    turn = (order.c.number, order.c.share, order.c.served, order.c.is_held)
    rows: Any = connection.execute(select(*(order.c[column.name] for column in _READ), *turn).order_by(order.c.place))
    found = [_Waiting(*row) for row in rows]
    by_submitter: dict[str, list[_Waiting]] = {}
    for run in found:
        by_submitter.setdefault(run.submitted_by, []).append(run)
    for own in by_submitter.values():
        own.sort(key=lambda run: run.own_turn)
    queue = _Queue(found, [run.turn for run in found], {run.id: run for run in found}, by_submitter)
    return _Known(seen, most_running, derived_at, queue)


def _place_of(run: _Waiting, number: int) -> Place:
    return Place(number, bool(run.is_held), run.places)
