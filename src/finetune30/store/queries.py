"""Questions to the run tables: one run by any of its names, events, the queue."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, case, func, or_, select, union_all

from finetune30.errors import ConflictError, NotFoundError
from finetune30.store.model_names import parse_reference
from finetune30.store.model_queries import find_newest_version, load_version
from finetune30.store.records import Run, RunEvent, RunStatus
from finetune30.store.tables import run_events, runs, tombstones

LATEST = "latest"
#: Columns that are derived from others, for searching and sorting.
NOT_IN_RUN = ("name_key", "score_rank")
_NEWEST = select(runs).order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(1)
_BY_ID = select(runs).where(runs.c.id == bindparam("named")).limit(1)
_BY_FOLDER = select(runs).where(runs.c.folder == bindparam("named")).limit(1)
_BY_NAME = _NEWEST.where(runs.c.name == bindparam("named"))
#: Kinds of events that lead into or out of PAUSED, which stands in them as CANCELLED, and on which side.
_PAUSES = {"paused": "to_status", "promoted": "from_status", "stopped": "from_status"}
#: Of CANCELLED rows, which are PAUSED. Every end has a moment of its own: one that a release before r0017 wrote, which
#: takes a paused run up and leaves `paused_at` as it is, has another.
_IS_PAUSED = and_(runs.c.paused_at.is_not(None), runs.c.paused_at == runs.c.finished_at)
_HEX = frozenset("0123456789abcdef")


def name_key(name: str) -> str:
    """Return the form of a name in which it is searched and sorted: compatibility-normalised, without case."""
    return unicodedata.normalize("NFKC", name).casefold()


def join_tags(tags: Sequence[str]) -> str:
    """Return the form in which tags stand in a row: each between line breaks, so that one is found within it."""
    return "".join(f"\n{tag}" for tag in tags) + "\n" if tags else ""


def split_tags(joined: str) -> tuple[str, ...]:
    """Return the tags of a row."""
    return tuple(joined.split("\n")[1:-1])


def run_of(row: Row[Any], columns: Sequence[str] = ()) -> Run:
    """Return the record of a row of `runs`, by its first columns (else all of them); unread ones are empty."""
    values = {"config": {}, "metrics": None, **dict(zip(columns or row._fields, row, strict=not columns))}
    for key in NOT_IN_RUN:
        values.pop(key, None)
    values["status"] = _status_of(values["status"], values["paused_at"], values["finished_at"])
    values["submitted_by"] = values["submitted_by"] or None
    values["tags"] = split_tags(values["tags"])
    return Run(**values)


def shown_status() -> ColumnElement[str]:
    """Return the state of a row as its run tells it."""
    return case(
        (and_(runs.c.status == RunStatus.CANCELLED, _IS_PAUSED), RunStatus.PAUSED),
        else_=runs.c.status,
    )


def is_in(statuses: Collection[RunStatus]) -> ColumnElement[bool]:
    """Return what keeps the rows of runs in one of the states."""
    stored = sorted({status.stored for status in statuses})
    condition: ColumnElement[bool] = runs.c.status.in_(stored)
    if RunStatus.CANCELLED in stored and not {RunStatus.PAUSED, RunStatus.CANCELLED} <= set(statuses):
        wanted = _IS_PAUSED if RunStatus.PAUSED in statuses else ~_IS_PAUSED
        condition &= or_(runs.c.status != RunStatus.CANCELLED, wanted)
    return condition


def count_by_status(connection: Connection) -> dict[str, int]:
    """Return how many runs are in each state, from indexes alone."""
    counted = connection.execute(select(runs.c.status, func.count()).group_by(runs.c.status))
    found = dict.fromkeys((status.value for status in RunStatus), 0) | {row[0]: row[1] for row in counted}
    is_paused = and_(_IS_PAUSED, runs.c.status == RunStatus.CANCELLED)
    found[RunStatus.PAUSED] = connection.execute(select(func.count()).where(is_paused)).scalar_one()
    found[RunStatus.CANCELLED] -= found[RunStatus.PAUSED]
    return found


def load_run(connection: Connection, reference: str, *, lock: bool = False) -> Run:
    """Return one run by id, folder name, exact name (the newest), unique id prefix or `latest`, or that of a version
    of a model: `NAME:7`, `NAME@alias`, or `NAME` for its newest one, where no run is called so.

    With `lock` nobody else changes it before the transaction ends. Raises NotFoundError, ConflictError.
    """
    if (version := parse_reference(reference)) is not None:
        return load_run(connection, load_version(connection, version).run_id, lock=lock)
    for query in (_NEWEST,) if reference == LATEST else (_BY_ID, _BY_FOLDER, _BY_NAME):
        named = reference.rstrip("/") if query is _BY_FOLDER else reference
        row = connection.execute(query.with_for_update() if lock else query, {"named": named}).one_or_none()
        if row:
            return run_of(row)
    if (newest := find_newest_version(connection, reference)) is not None:
        return load_run(connection, newest.run_id, lock=lock)
    run = _load_by_prefix(connection, reference.lower())
    return load_run(connection, run.id, lock=True) if lock else run


def load_submitted(connection: Connection, idempotency_key: str, submitted_by: str) -> Run | None:
    """Return the run that was submitted under this key by this submitter."""
    row = connection.execute(
        select(runs).where(runs.c.idempotency_key == idempotency_key, runs.c.submitted_by == submitted_by)
    ).one_or_none()
    return run_of(row) if row else None


def is_folder_taken(connection: Connection, folder: str) -> bool:
    """Tell whether a run, or a deleted one whose folder still waits to be removed, has this folder."""
    of_runs = select(runs.c.id).where(runs.c.folder == folder)
    of_tombstones = select(tombstones.c.run_id).where(tombstones.c.folder == folder)
    return connection.execute(union_all(of_runs, of_tombstones).limit(1)).first() is not None


def load_events(connection: Connection, run_id: str, after: int, limit: int) -> list[RunEvent]:
    """Return events of a run, oldest first."""
    rows = connection.execute(
        select(run_events)
        .where(run_events.c.run_id == run_id, run_events.c.number > after)
        .order_by(run_events.c.number)
        .limit(limit)
    )
    return [_event_of(row) for row in rows]


def load_unpublished(connection: Connection, limit: int, since: datetime) -> list[Run]:
    """Return waiting runs for which no message was sent since then; any message makes a worker take the next run."""
    query = select(runs).where(runs.c.status == RunStatus.QUEUED, runs.c.kind == "queued")
    query = query.where(or_(runs.c.published_at.is_(None), runs.c.published_at < since))
    query = query.order_by(runs.c.priority.desc(), runs.c.queued_at, runs.c.id).limit(limit)
    return [run_of(row) for row in connection.execute(query)]


# --- private


def _status_of(stored: str, paused_at: datetime | None, finished_at: datetime | None) -> RunStatus:
    status = RunStatus(stored)
    is_paused = status is RunStatus.CANCELLED and paused_at is not None and paused_at == finished_at
    return RunStatus.PAUSED if is_paused else status


def _load_by_prefix(connection: Connection, prefix: str) -> Run:
    found: Sequence[Row[Any]] = []
    if prefix and set(prefix) <= _HEX and len(prefix) < 32:
        in_range = and_(runs.c.id >= prefix, runs.c.id < prefix + "g")
        found = connection.execute(select(runs).where(in_range).order_by(runs.c.id).limit(6)).all()
    if len(found) == 1:
        return run_of(found[0])
    if found:
        listed = ", ".join(f"{row.id[:12]} ({row.name})" for row in found[:5])
        raise ConflictError(f"{prefix!r} fits several runs: {listed}", "write more characters of the id")
    raise NotFoundError(f"there is no run {prefix!r}", "see all runs with: ft30 runs list")


def _event_of(row: Row[Any]) -> RunEvent:
    values = dict(row._mapping)
    for key in ("from_status", "to_status"):
        values[key] = RunStatus(values[key]) if values[key] else None
    if side := _PAUSES.get(row.kind):
        values[side] = RunStatus.PAUSED
    return RunEvent(**values)
