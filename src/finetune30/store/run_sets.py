"""Run sets: what a set is made of, written before its first run; its runs are found by their idempotency keys.

The same request gives the same set, and each planned run has a key of its own, so that a set which was handed in only
in part is completed by handing it in again.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Row, insert, select
from sqlalchemy.exc import IntegrityError

from finetune30.errors import ConflictError, NotFoundError
from finetune30.store.database import reading, writing
from finetune30.store.queries import run_of
from finetune30.store.records import Run
from finetune30.store.run_store import RunStore
from finetune30.store.tables import run_sets, runs

Purpose = Literal["seeds", "folds"]
_SHORTEST_PREFIX = 4


@dataclass(frozen=True)
class RunSet:
    """A set as its row tells it.

    `config` is the configuration of all runs, `plan` a tree for each of them: `number` (from 1) and what is its own,
    `seed`, `dataset_digest`, and of a fold `fold` and `repeat` (from 1). `dataset_digest` is the frozen version.
    """

    id: str
    name: str
    purpose: Purpose
    request_sha256: str
    submitted_by: str
    created_at: datetime
    config: dict[str, Any]
    dataset_digest: str
    plan: list[dict[str, Any]]

    def key_of(self, number: int) -> str:
        """Return the idempotency key of a planned run."""
        return f"set:{self.id}:{number}"

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON tree."""
        names = ("id", "name", "purpose", "submitted_by", "config", "dataset_digest", "plan")
        return {**{name: getattr(self, name) for name in names}, "created_at": self.created_at.isoformat()}


def record_set(
    store: RunStore,
    *,
    name: str,
    purpose: Purpose,
    request_sha256: str,
    config: Mapping[str, Any],
    dataset_digest: str,
    plan: Sequence[Mapping[str, Any]],
    submitted_by: str = "",
) -> RunSet:
    """Write a set and return it; one that was written before for the same request is returned instead."""
    values = {
        "id": uuid.uuid4().hex,
        "name": name,
        "purpose": purpose,
        "request_sha256": request_sha256,
        "submitted_by": submitted_by,
        "config": dict(config),
        "dataset_digest": dataset_digest,
        "plan": [dict(entry) for entry in plan],
    }
    if known := find_set(store, request_sha256, submitted_by):
        return known
    try:
        with writing(store.engine) as connection:
            connection.execute(insert(run_sets).values(**values, created_at=store.now(connection)))
    except IntegrityError:  # somebody else was faster
        pass
    found = find_set(store, request_sha256, submitted_by)
    assert found is not None  # noqa: S101 - one of the two writers has written it
    return found


def find_set(store: RunStore, request_sha256: str, submitted_by: str = "") -> RunSet | None:
    """Return the set of a request, None where there is none."""
    chosen = (run_sets.c.request_sha256 == request_sha256) & (run_sets.c.submitted_by == submitted_by)
    with reading(store.engine) as connection:
        row = connection.execute(select(run_sets).where(chosen)).first()
    return None if row is None else _set(row)


def load_set(store: RunStore, reference: str) -> RunSet:
    """Return a set by id, the beginning of one, or name (the newest). Raises NotFoundError, ConflictError."""
    with reading(store.engine) as connection:
        newest = run_sets.c.created_at.desc(), run_sets.c.id
        named = connection.execute(select(run_sets).where(run_sets.c.name == reference).order_by(*newest)).first()
        if named is not None:
            return _set(named)
        near = _begin_with(connection, reference) if len(reference) >= _SHORTEST_PREFIX else []
    if len(near) > 1:
        raise ConflictError(f"{len(near)} sets begin with {reference!r}", "write more digits of the id")
    if not near:
        raise NotFoundError(f"there is no set of runs {reference!r}", "list them with: ft30 sets list")
    return near[0]


def list_sets(store: RunStore, limit: int = 100) -> list[RunSet]:
    """Return the newest sets, the newest first."""
    with reading(store.engine) as connection:
        rows = connection.execute(select(run_sets).order_by(run_sets.c.created_at.desc(), run_sets.c.id).limit(limit))
        return [_set(row) for row in rows]


def runs_of(store: RunStore, found: RunSet) -> dict[int, Run]:
    """Return the runs of a set by their numbers in the plan; those that are not handed in, or deleted, are missing."""
    numbers = {found.key_of(entry["number"]): int(entry["number"]) for entry in found.plan}
    chosen = runs.c.idempotency_key.in_(list(numbers)) & (runs.c.submitted_by == found.submitted_by)
    with reading(store.engine) as connection:
        rows = [run_of(row) for row in connection.execute(select(runs).where(chosen))]
    return {numbers[str(run.idempotency_key)]: run for run in rows}


def _begin_with(connection: Connection, beginning: str) -> list[RunSet]:
    query = select(run_sets).where(run_sets.c.id.startswith(beginning, autoescape=True)).limit(2)
    return [_set(row) for row in connection.execute(query)]


def _set(row: Row[Any]) -> RunSet:
    names = (
        "id",
        "name",
        "purpose",
        "request_sha256",
        "submitted_by",
        "created_at",
        "config",
        "dataset_digest",
        "plan",
    )
    return RunSet(*(getattr(row, name) for name in names))
