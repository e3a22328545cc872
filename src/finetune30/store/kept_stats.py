"""Totals over all runs, kept and brought up to date by the events since they were counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row

from finetune30.store import statistics
from finetune30.store.database import reading
from finetune30.store.event_tail import Seen, look, look_again
from finetune30.store.records import RunStats

#: Longest age of counted totals: scores that are filled in later leave no event.
STATS_SECONDS = 10.0
#: Changes that move runs from state to state and touch no other total; after any other one all is counted anew.
_MOVES = frozenset(
    {"created", "claimed", "described", "cancel_requested", "cancelled", "failed", "lost", "released", "retried"}
)


@dataclass(frozen=True)
class _Known:
    stats: RunStats
    seen: Seen
    day: date
    counted_at: float


class KeptStats:
    """The totals of one database; safe to share between threads."""

    def __init__(self, engine: Engine, now: Callable[[Connection], datetime]) -> None:
        self._engine, self._now = engine, now
        self._known: _Known | None = None
        self._counting = threading.Lock()

    def load(self) -> RunStats:
        """Return the totals as they are now: every change that was committed before this call is in them."""
        with reading(self._engine) as connection:
            stats = self._bring_up_to_date(connection, self._now(connection).date())
        if stats is not None:
            return stats
        with self._counting, reading(self._engine, one_snapshot=True) as connection:
            moment = self._now(connection)
            stats = self._bring_up_to_date(connection, moment.date())  # another thread may have counted meanwhile
            return stats or self._count(connection, moment)

    def _bring_up_to_date(self, connection: Connection, day: date) -> RunStats | None:
        """Return the totals, None where they have to be counted anew."""
        known = self._known
        if known is None or known.day != day or time.monotonic() - known.counted_at > STATS_SECONDS:
            return None
        seen, events = look_again(connection, known.seen)
        if events is None or any(event.kind not in _MOVES for event in events):
            return None
        if seen is not known.seen:
            self._known = replace(known, stats=_move(known.stats, events), seen=seen)
            return self._known.stats
        return known.stats

    def _count(self, connection: Connection, moment: datetime) -> RunStats:
        seen = look(connection)
        stats = statistics.load_stats(connection, moment)
        self._known = _Known(stats, seen, moment.date(), time.monotonic())
        return stats


def _move(stats: RunStats, events: Sequence[Row[Any]]) -> RunStats:
    by_status, days = dict(stats.by_status), dict(stats.last_30_days)
    for event in events:
        if event.from_status is not None:
            by_status[event.from_status] -= 1
        by_status[event.to_status] += 1
        day = f"{event.at.astimezone(UTC):%Y-%m-%d}"
        if event.kind == "created" and day in days:
            days[day] += 1
    return replace(stats, total=sum(by_status.values()), by_status=by_status, last_30_days=days)
