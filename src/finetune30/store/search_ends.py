"""Ends of searches: a row before anything is repeated, its verdict once; and each opening of the test rows for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from finetune30.store.database import reading, writing
from finetune30.store.look_leases import goes_on, lease_values
from finetune30.store.run_store import RunStore
from finetune30.store.search_tables import search_ends, search_tests


@dataclass(frozen=True)
class SearchEnd:
    """The end of a search after `tried` trials; without sets its trial 0 is the best, and nothing is repeated.

    `left_unopened` says why the test rows were not opened for it; None: they were, or are to be.
    """

    search_id: str
    tried: int
    best: int
    default_set: str | None
    best_set: str | None
    created_at: datetime
    judged_at: datetime | None
    verdict: dict[str, Any] | None
    left_unopened: str | None

    @property
    def sets(self) -> list[str]:
        """The sets of trial 0 and of the best trial, in this order."""
        return [one for one in (self.default_set, self.best_set) if one is not None]


@dataclass(frozen=True)
class SearchTest:
    """One opening of the test rows for the end after `tried` trials: without result and error it goes on, or died.

    `count`: the how manyth of the search, whichever end it was for. Whoever reads them holds it, and says so again and
    again: `goes_on` is False of one that died, soon after.
    """

    search_id: str
    count: int
    tried: int
    opened_at: datetime
    opened_by: str
    ended_at: datetime | None
    goes_on: bool
    result: dict[str, Any] | None
    error: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON tree."""
        return {
            "count": self.count,
            "tried": self.tried,
            "opened_at": self.opened_at.isoformat(),
            "opened_by": self.opened_by,
            "ended_at": None if self.ended_at is None else self.ended_at.isoformat(),
            "goes_on": self.goes_on,
            "result": self.result,
            "error": self.error,
        }


def record_end(
    store: RunStore, search_id: str, tried: int, best: int, default_set: str | None, best_set: str | None
) -> None:
    """Write the end after so many trials; one that is written already stays."""
    row = {"search_id": search_id, "tried": tried, "best": best, "default_set": default_set, "best_set": best_set}
    try:
        with writing(store.engine) as connection:
            connection.execute(insert(search_ends).values(**row, created_at=store.now(connection)))
    except IntegrityError:  # written before, or by somebody faster: the same
        return


def load_end(store: RunStore, search_id: str) -> SearchEnd | None:
    """Return the end after the most trials; None where there is none."""
    query = select(search_ends).where(search_ends.c.search_id == search_id).order_by(search_ends.c.tried.desc())
    with reading(store.engine) as connection:
        row = connection.execute(query.limit(1)).first()
    return None if row is None else SearchEnd(**row._mapping)


def list_ends(store: RunStore, search_id: str) -> list[SearchEnd]:
    """Return all ends of a search, that after the fewest trials first."""
    query = select(search_ends).where(search_ends.c.search_id == search_id).order_by(search_ends.c.tried)
    with reading(store.engine) as connection:
        return [SearchEnd(**row._mapping) for row in connection.execute(query)]


def write_verdict(
    store: RunStore, end: SearchEnd, verdict: Mapping[str, Any], *, left_unopened: str | None = None
) -> bool:
    """Write what is said of an end, and why it needs no test rows, if so; False where it is written already."""
    unjudged = _row_of(end) & search_ends.c.judged_at.is_(None)
    with writing(store.engine) as connection:
        values = {"verdict": dict(verdict), "judged_at": store.now(connection), "left_unopened": left_unopened}
        return connection.execute(update(search_ends).where(unjudged).values(**values)).rowcount == 1


def leave_unopened(store: RunStore, end: SearchEnd, reason: str) -> None:
    """Write why the test rows are not opened for an end; the first reason stays."""
    with writing(store.engine) as connection:
        first = _row_of(end) & search_ends.c.left_unopened.is_(None)
        connection.execute(update(search_ends).where(first).values(left_unopened=reason))


def open_test(
    store: RunStore, end: SearchEnd, by: str = "", *, lease_seconds: float, count: int | None = None
) -> SearchTest | None:
    """Record that the test rows are about to be read for an end; from now on this counts, for the whole search.

    It is held for `lease_seconds`, and goes on as long as `hold_test` is called. None where another one goes on, and
    with `count` where that is not the look that would be taken: somebody else has taken it.
    """
    try:
        with writing(store.engine) as connection:
            now = store.now(connection)
            earlier = _tests_of(connection, end.search_id, now)
            next_count = len(earlier) + 1
            if any(one.goes_on for one in earlier) or count not in (None, next_count):
                return None
            key = {"search_id": end.search_id, "count": next_count, "tried": end.tried}
            held = lease_values(now, lease_seconds)
            connection.execute(insert(search_tests).values(**key, **held, opened_at=now, opened_by=by))
            return _tests_of(connection, end.search_id, now)[-1]
    except IntegrityError:  # somebody else takes it in this moment
        return None


def hold_test(store: RunStore, test: SearchTest, lease_seconds: float) -> None:
    """Say that a look goes on."""
    with writing(store.engine) as connection:
        values = lease_values(store.now(connection), lease_seconds)
        connection.execute(update(search_tests).where(_row_of_test(test)).values(**values))


def close_test(
    store: RunStore, test: SearchTest, *, result: dict[str, Any] | None = None, error: dict[str, Any] | None = None
) -> None:
    """Record what came of an opening; whatever was recorded before stays."""
    with writing(store.engine) as connection:
        values = {"ended_at": store.now(connection), "result": result, "error": error}
        connection.execute(update(search_tests).where(_row_of_test(test)).values(**values))


def list_tests(store: RunStore, search_id: str) -> list[SearchTest]:
    """Return the openings of the test rows for all ends of a search, the first one first."""
    with reading(store.engine) as connection:
        return _tests_of(connection, search_id, store.now(connection))


def is_untested(store: RunStore, end: SearchEnd) -> bool:
    """Tell whether the test rows are still to be opened for an end: it is judged, and the first one to have them."""
    return end.judged_at is not None and end.left_unopened is None and not list_tests(store, end.search_id)


def _row_of(end: SearchEnd) -> ColumnElement[bool]:
    return (search_ends.c.search_id == end.search_id) & (search_ends.c.tried == end.tried)


def _row_of_test(test: SearchTest) -> ColumnElement[bool]:
    """Return what finds the row of a look that nothing came of yet."""
    its = (search_tests.c.search_id == test.search_id) & (search_tests.c["count"] == test.count)
    return its & search_tests.c.ended_at.is_(None)


def _tests_of(connection: Connection, search_id: str, now: datetime) -> list[SearchTest]:
    query = select(search_tests).where(search_tests.c.search_id == search_id).order_by(search_tests.c["count"])
    return [_test(row, now) for row in connection.execute(query)]


def _test(row: Row[Any], now: datetime) -> SearchTest:
    values = {name: value for name, value in row._mapping.items() if not name.startswith("held_")}
    return SearchTest(**values, goes_on=goes_on(row, now))
