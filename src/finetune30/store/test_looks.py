"""Looks at test rows: a row before they are read, its result or its error once, and nothing that takes it back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from finetune30.store.database import reading, writing
from finetune30.store.run_store import RunStore
from finetune30.store.tables import test_looks


@dataclass(frozen=True)
class Look:
    """One look: `count` is the how manyth of its run, from 1. Without result and error it runs still, or died."""

    number: int
    run_id: str
    count: int
    opened_at: datetime
    opened_by: str
    ended_at: datetime | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON tree."""
        return {
            "number": self.number,
            "run_id": self.run_id,
            "count": self.count,
            "opened_at": self.opened_at.isoformat(),
            "opened_by": self.opened_by,
            "ended_at": None if self.ended_at is None else self.ended_at.isoformat(),
            "result": self.result,
            "error": self.error,
        }


def open_look(store: RunStore, run_id: str, by: str = "") -> Look:
    """Record that the test rows of a run are about to be read; from now on the look counts."""
    with writing(store.engine) as connection:
        values = {"run_id": run_id, "opened_at": store.now(connection), "opened_by": by}
        connection.execute(insert(test_looks).values(**values))
        return _looks_of(connection, [run_id])[run_id][-1]


def end_look(
    store: RunStore, look: Look, *, result: dict[str, Any] | None = None, error: dict[str, Any] | None = None
) -> None:
    """Record what came of a look; whatever was recorded before stays."""
    with writing(store.engine) as connection:
        unended = (test_looks.c.number == look.number) & test_looks.c.ended_at.is_(None)
        values = {"ended_at": store.now(connection), "result": result, "error": error}
        connection.execute(update(test_looks).where(unended).values(**values))


def load_looks(store: RunStore, run_ids: Collection[str]) -> dict[str, list[Look]]:
    """Return the looks of runs, the first look first; a run without any has an empty list."""
    with reading(store.engine) as connection:
        return _looks_of(connection, run_ids)


def _looks_of(connection: Connection, run_ids: Collection[str]) -> dict[str, list[Look]]:
    found: dict[str, list[Look]] = {run_id: [] for run_id in run_ids}
    query = select(test_looks).where(test_looks.c.run_id.in_(list(found))).order_by(test_looks.c.number)
    for row in connection.execute(query):
        looks = found[row.run_id]
        looks.append(_look(row, len(looks) + 1))
    return found


def _look(row: Row[Any], count: int) -> Look:
    times = (row.opened_at, row.opened_by, row.ended_at)
    return Look(row.number, row.run_id, count, *times, row.result, row.error)
