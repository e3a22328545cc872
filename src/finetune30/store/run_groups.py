"""What sets and searches have in common: a row that a request makes once, and runs that are found by their keys."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, Table, insert, select
from sqlalchemy.exc import IntegrityError

from finetune30.store.database import reading, writing
from finetune30.store.queries import run_of
from finetune30.store.records import Run
from finetune30.store.run_store import RunStore
from finetune30.store.tables import runs

_SHORTEST_PREFIX = 4


def record_once(store: RunStore, table: Table, values: Mapping[str, Any]) -> Row[Any]:
    """Write a row under a new id and return it; one that was written before for the same request is returned instead.

    `values` holds `request_sha256` and `submitted_by`, by which the table knows a request.
    """
    request = str(values["request_sha256"]), str(values["submitted_by"])
    if known := find_by_request(store, table, *request):
        return known
    row = {**values, "id": uuid.uuid4().hex}
    try:
        with writing(store.engine) as connection:
            connection.execute(insert(table).values(**row, created_at=store.now(connection)))
    except IntegrityError:  # somebody else was faster
        pass
    found = find_by_request(store, table, *request)
    assert found is not None  # noqa: S101 - one of the two writers has written it
    return found


def find_by_request(store: RunStore, table: Table, request_sha256: str, submitted_by: str) -> Row[Any] | None:
    """Return the row of a request, None where there is none."""
    chosen = (table.c.request_sha256 == request_sha256) & (table.c.submitted_by == submitted_by)
    with reading(store.engine) as connection:
        return connection.execute(select(table).where(chosen)).first()


def find_candidates(store: RunStore, table: Table, reference: str) -> list[Row[Any]]:
    """Return the newest row of a name; where there is none, up to two whose id is `reference` or begins with it."""
    newest = table.c.created_at.desc(), table.c.id
    named = select(table).where(table.c.name == reference).order_by(*newest).limit(1)
    near = select(table).where(table.c.id.startswith(reference, autoescape=True)).limit(2)
    with reading(store.engine) as connection:
        if found := connection.execute(named).all():
            return list(found)
        return list(connection.execute(near)) if len(reference) >= _SHORTEST_PREFIX else []


def list_newest(store: RunStore, table: Table, limit: int) -> list[Row[Any]]:
    """Return so many rows, the newest first."""
    with reading(store.engine) as connection:
        query = select(table).order_by(table.c.created_at.desc(), table.c.id).limit(limit)
        return list(connection.execute(query))


def runs_by_key(store: RunStore, numbers: Mapping[str, int], submitted_by: str) -> dict[int, Run]:
    """Return runs by the number that belongs to their idempotency key; those that were not handed in are missing."""
    chosen = runs.c.idempotency_key.in_(list(numbers)) & (runs.c.submitted_by == submitted_by)
    with reading(store.engine) as connection:
        found = [run_of(row) for row in connection.execute(select(runs).where(chosen))]
    return {numbers[str(run.idempotency_key)]: run for run in found}
