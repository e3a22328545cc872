"""Which events have become visible since the last look, so that what was derived from runs is brought up to date.

Numbers are drawn before a change is committed, so on PostgreSQL an event may become visible after one with a higher
number. Numbers that are missing are therefore remembered and looked for again, until no transaction can hold them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, or_, select

from finetune30.store.tables import run_events

#: So long a missing number is looked for: no transaction of ours lasts half as long (`database`: time-outs of locks and
#: of pauses). After that it belongs to a change that was taken back.
GAP_SECONDS = 120.0
#: So many events are looked at one by one; after more of them, deriving anew is less work.
MOST_EVENTS = 500

_EVENTS: Select[Any] = (
    select(*(run_events.c[name] for name in ("number", "run_id", "at", "kind", "from_status", "to_status")))
    .order_by(run_events.c.number)
    .limit(MOST_EVENTS + 1)
)
_IS_NEW = run_events.c.number > bindparam("last")
_SINCE = _EVENTS.where(_IS_NEW)
_SINCE_OR_MISSED = _EVENTS.where(or_(_IS_NEW, run_events.c.number.in_(bindparam("gaps", expanding=True))))
_NEWEST = select(run_events.c.number).order_by(run_events.c.number.desc()).limit(MOST_EVENTS)


@dataclass(frozen=True)
class Seen:
    """Which events were seen: all up to `last` but those in `gaps` (number -> when it was missed first)."""

    last: int
    gaps: Mapping[int, float]


def look(connection: Connection) -> Seen:
    """Return which events there are."""
    numbers = sorted(connection.execute(_NEWEST).scalars())
    return _after(Seen(numbers[0] - 1, {}), numbers) if numbers else Seen(0, {})


def look_again(connection: Connection, seen: Seen) -> tuple[Seen, Sequence[Row[Any]] | None]:
    """Return which events there are now, and those that were not there before, in order; None: more than MOST_EVENTS.

    They have number, run_id, at, kind, from_status and to_status.
    """
    known = {"last": seen.last, **({"gaps": sorted(seen.gaps)} if seen.gaps else {})}
    found: Sequence[Row[Any]] = list(connection.execute(_SINCE_OR_MISSED if seen.gaps else _SINCE, known))
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
