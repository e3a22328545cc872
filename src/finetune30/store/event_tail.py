"""Which events have become visible since the last look, so that what was derived from runs is brought up to date.

Numbers are drawn before a change is committed, so on PostgreSQL an event may become visible after one with a higher
number. Numbers that are missing are therefore remembered and looked for again, until no transaction can hold them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from finetune30.store.tables import run_events

#: So long a missing number is looked for: no transaction of ours lasts half as long (`database`: time-outs of locks and
#: of pauses). After that it belongs to a change that was taken back.
GAP_SECONDS = 120.0
#: So many events are looked at one by one; after more of them, deriving anew is less work.
MOST_EVENTS = 500

_KNOWN = (run_events.c.number, run_events.c.run_id, run_events.c.at, run_events.c.kind)
_STATES = (run_events.c.from_status, run_events.c.to_status)


@dataclass(frozen=True)
class Seen:
    """Which events were seen: all up to `last` but those in `gaps` (number -> when it was missed first)."""

    last: int
    gaps: Mapping[int, float]


def look(connection: Connection) -> Seen:
    """Return which events there are."""
    newest = select(run_events.c.number).order_by(run_events.c.number.desc()).limit(MOST_EVENTS)
    numbers = sorted(connection.execute(newest).scalars())
    return _after(Seen(numbers[0] - 1, {}), numbers) if numbers else Seen(0, {})


def look_again(connection: Connection, seen: Seen) -> tuple[Seen, Sequence[Row[Any]] | None]:
    """Return which events there are now, and those that were not there before, in order; None: more than MOST_EVENTS.

    They have number, run_id, at, kind, from_status and to_status.
    """
    is_new = run_events.c.number > seen.last
    if seen.gaps:
        is_new = or_(is_new, run_events.c.number.in_(sorted(seen.gaps)))
    query = select(*_KNOWN, *_STATES).where(is_new).order_by(run_events.c.number).limit(MOST_EVENTS + 1)
    found: Sequence[Row[Any]] = list(connection.execute(query))
    if len(found) > MOST_EVENTS:
        return look(connection), None
    return _after(seen, [row.number for row in found]), found


def _after(seen: Seen, numbers: Sequence[int]) -> Seen:
    if not numbers and not seen.gaps:
        return seen
    now, last = time.monotonic(), max([seen.last, *numbers])
    missing = dict.fromkeys(range(seen.last + 1, last), now) | dict(seen.gaps)
    there = set(numbers)
    gaps = {n: since for n, since in missing.items() if n not in there and now - since < GAP_SECONDS}
    return Seen(last, gaps)
