"""Looks at test rows: a row before they are read, its result or its error once, and nothing that takes it back.

Of looks at the rows of two runs at once the verdict on them stands beside both.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, select, update

from finetune30.store.database import reading, writing
from finetune30.store.look_leases import goes_on, lease_values
from finetune30.store.queries import load_run
from finetune30.store.run_store import RunStore
from finetune30.store.tables import test_looks


@dataclass(frozen=True)
class Look:
    """One look: `count` is the how manyth of its run, from 1. Without result and error it goes on, or died.

    Whoever reads the rows holds it, and says so again and again: `goes_on` is False of one that died, soon after.
    `verdict`: how the run compares with another that was looked at together with it (see `record_verdict`).
    """

    number: int
    run_id: str
    count: int
    opened_at: datetime
    opened_by: str
    ended_at: datetime | None
    goes_on: bool
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    verdict: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON tree."""
        return {
            "number": self.number,
            "run_id": self.run_id,
            "count": self.count,
            "opened_at": self.opened_at.isoformat(),
            "opened_by": self.opened_by,
            "ended_at": None if self.ended_at is None else self.ended_at.isoformat(),
            "goes_on": self.goes_on,
            "result": self.result,
            "error": self.error,
            "verdict": self.verdict,
        }


def open_look(
    store: RunStore,
    run_id: str,
    by: str = "",
    *,
    lease_seconds: float,
    count: int | None = None,
    beside_others: bool = False,
) -> Look | None:
    """Record that the test rows of a run are about to be read; from now on the look counts.

    It is held for `lease_seconds`, and goes on as long as `hold_look` is called. None where another one goes on, unless
    it may be `beside_others`, and with `count` where that is not the look that would be taken: somebody else has taken
    it. Raises NotFoundError.
    """
    with writing(store.engine) as connection:
        load_run(connection, run_id, lock=True)  # whoever opens them at the same moment waits
        now = store.now(connection)
        earlier = _looks_of(connection, [run_id], now)[run_id]
        is_taken = any(look.goes_on for look in earlier) and not beside_others
        if is_taken or count not in (None, len(earlier) + 1):
            return None
        values = {"run_id": run_id, "opened_at": now, "opened_by": by}
        connection.execute(insert(test_looks).values(**values, **lease_values(now, lease_seconds)))
        return _looks_of(connection, [run_id], now)[run_id][-1]


def hold_look(store: RunStore, look: Look, lease_seconds: float) -> None:
    """Say that a look goes on."""
    with writing(store.engine) as connection:
        values = lease_values(store.now(connection), lease_seconds)
        connection.execute(update(test_looks).where(_unended(look)).values(**values))


def end_look(
    store: RunStore, look: Look, *, result: dict[str, Any] | None = None, error: dict[str, Any] | None = None
) -> None:
    """Record what came of a look; whatever was recorded before stays."""
    with writing(store.engine) as connection:
        values = {"ended_at": store.now(connection), "result": result, "error": error}
        connection.execute(update(test_looks).where(_unended(look)).values(**values))


def record_verdict(store: RunStore, looks: Sequence[Look], verdict: dict[str, Any]) -> None:
    """Record what was said of runs that were looked at together, beside the look at each; at once, and once only."""
    with writing(store.engine) as connection:
        unsaid = test_looks.c.number.in_([look.number for look in looks]) & test_looks.c.verdict.is_(None)
        connection.execute(update(test_looks).where(unsaid).values(verdict=verdict))


def load_looks(store: RunStore, run_ids: Collection[str]) -> dict[str, list[Look]]:
    """Return the looks of runs, the first look first; a run without any has an empty list."""
    with reading(store.engine) as connection:
        return _looks_of(connection, run_ids, store.now(connection))


def _unended(look: Look) -> ColumnElement[bool]:
    """Return what finds the row of a look that nothing came of yet."""
    return (test_looks.c.number == look.number) & test_looks.c.ended_at.is_(None)


def _looks_of(connection: Connection, run_ids: Collection[str], now: datetime) -> dict[str, list[Look]]:
    found: dict[str, list[Look]] = {run_id: [] for run_id in run_ids}
    query = select(test_looks).where(test_looks.c.run_id.in_(list(found))).order_by(test_looks.c.number)
    for row in connection.execute(query):
        looks = found[row.run_id]
        looks.append(_look(row, len(looks) + 1, now))
    return found


def _look(row: Row[Any], count: int, now: datetime) -> Look:
    times = (row.opened_at, row.opened_by, row.ended_at)
    return Look(row.number, row.run_id, count, *times, goes_on(row, now), row.result, row.error, row.verdict)
