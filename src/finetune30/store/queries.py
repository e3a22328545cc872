"""Questions to the run tables: one run by any of its names, pages of runs, totals, events, the queue."""

from __future__ import annotations

import base64
import json
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column as TableColumn
from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    and_,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from finetune30.errors import ConflictError, NotFoundError, UsageError
from finetune30.store.records import Run, RunEvent, RunFilter, RunPage, RunStats, RunStatus
from finetune30.store.tables import run_events, runs, tombstones

LATEST = "latest"
MAX_PAGE = 1000

_SORT_COLUMNS: dict[str, TableColumn[Any]] = {
    "created_at": runs.c.created_at,
    "name": runs.c.name_key,
    "train_runtime": runs.c.train_runtime,
    "eval_accuracy": runs.c.eval_accuracy,
}
_HEX = frozenset("0123456789abcdef")


class _Position(FunctionElement[int]):
    """Where one text stands in another, from 1, else 0: half the time of LIKE on a long scan."""

    type = Integer()
    inherit_cache = True


@compiles(_Position)
def _compile_position(element: _Position, compiler: SQLCompiler, **options: Any) -> str:
    name = "strpos" if compiler.dialect.name == "postgresql" else "instr"
    return f"{name}({compiler.process(element.clauses, **options)})"


def name_key(name: str) -> str:
    """Return the form of a name in which it is searched and sorted: compatibility-normalised, without case."""
    return unicodedata.normalize("NFKC", name).casefold()


def run_of(row: Row[Any]) -> Run:
    """Return the record of a row of `runs`."""
    values: dict[str, Any] = {"config": {}, **row._mapping}
    del values["name_key"]
    values["status"] = RunStatus(values["status"])
    values["submitted_by"] = values["submitted_by"] or None
    return Run(**values)


def load_run(connection: Connection, reference: str, *, lock: bool = False) -> Run:
    """Return one run by id, folder name, exact name (the newest), unique id prefix or `latest`.

    With `lock` nobody else changes it before the transaction ends. Raises NotFoundError, ConflictError.
    """
    newest = (runs.c.created_at.desc(), runs.c.id.desc())
    if reference == LATEST:
        queries = [select(runs).order_by(*newest)]
    else:
        queries = [
            select(runs).where(runs.c.id == reference),
            select(runs).where(runs.c.folder == reference.rstrip("/")),
            select(runs).where(runs.c.name == reference).order_by(*newest),
        ]
    for query in queries:
        query = query.limit(1)
        if row := connection.execute(query.with_for_update() if lock else query).one_or_none():
            return run_of(row)
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


def load_page(connection: Connection, wanted: RunFilter) -> RunPage:
    """Return one page: first the runs that have the sort value, in its order, then those without one.

    Raises UsageError for a limit out of range or a cursor that belongs to another order.
    """
    if not 1 <= wanted.limit <= MAX_PAGE:
        raise UsageError(f"limit {wanted.limit} is out of range", f"use 1 to {MAX_PAGE}")
    if wanted.sort_by not in _SORT_COLUMNS:
        raise UsageError(f"cannot sort by {wanted.sort_by!r}", f"use one of: {', '.join(_SORT_COLUMNS)}")
    place = _decode_cursor(wanted) if wanted.cursor else None
    ids: list[str] = []
    for without_value in (False, True):
        if place and place["without_value"] and not without_value:
            continue
        query = _page_query(wanted, without_value, place if place and place["without_value"] == without_value else None)
        if query is not None and len(ids) <= wanted.limit:
            ids += connection.execute(query.limit(wanted.limit + 1 - len(ids))).scalars().all()
    columns = runs.c if wanted.with_config else [c for c in runs.c if c is not runs.c.config]
    by_id = {
        row.id: run_of(row) for row in connection.execute(select(*columns).where(runs.c.id.in_(ids[: wanted.limit])))
    }
    page = [by_id[run_id] for run_id in ids[: wanted.limit]]
    return RunPage(page, _encode_cursor(wanted, page[-1]) if len(ids) > wanted.limit else None)


def count_runs(connection: Connection, wanted: RunFilter) -> int:
    """Return how many runs the filter keeps."""
    return connection.execute(select(func.count()).select_from(runs).where(*_conditions(wanted))).scalar_one()


def load_stats(connection: Connection, now: datetime) -> RunStats:
    """Return totals over all runs."""
    counted = connection.execute(select(runs.c.status, func.count()).group_by(runs.c.status))
    by_status = dict.fromkeys((status.value for status in RunStatus), 0) | {row[0]: row[1] for row in counted}
    mean_accuracy, mean_runtime, total_runtime = connection.execute(
        select(func.avg(runs.c.eval_accuracy), func.avg(runs.c.train_runtime), func.sum(runs.c.train_runtime)).where(
            runs.c.status == RunStatus.SUCCEEDED
        )
    ).one()
    best = connection.execute(
        select(runs.c.id, runs.c.eval_accuracy)
        .where(runs.c.eval_accuracy.is_not(None))
        .order_by(runs.c.eval_accuracy.desc(), runs.c.created_at.desc())
        .limit(1)
    ).one_or_none()
    return RunStats(
        total=sum(by_status.values()),
        by_status=by_status,
        mean_accuracy=mean_accuracy,
        best_accuracy=best.eval_accuracy if best else None,
        best_run_id=best.id if best else None,
        mean_runtime_seconds=mean_runtime,
        total_runtime_seconds=total_runtime or 0.0,
        last_30_days=_runs_by_day(connection, now),
    )


def load_last_event_number(connection: Connection) -> int:
    """Return the highest event number, 0 without events: no run has changed while it stays."""
    return connection.execute(select(func.max(run_events.c.number))).scalar() or 0


def load_events(connection: Connection, run_id: str, after: int, limit: int) -> list[RunEvent]:
    """Return events of a run, oldest first."""
    rows = connection.execute(
        select(run_events)
        .where(run_events.c.run_id == run_id, run_events.c.number > after)
        .order_by(run_events.c.number)
        .limit(limit)
    )
    return [_event_of(row) for row in rows]


def load_queue(connection: Connection, limit: int, unpublished_since: datetime | None) -> list[Run]:
    """Return waiting runs: higher priority first, then the longest wait."""
    query = select(runs).where(runs.c.status == RunStatus.QUEUED, runs.c.kind == "queued")
    if unpublished_since is not None:
        query = query.where(or_(runs.c.published_at.is_(None), runs.c.published_at < unpublished_since))
    query = query.order_by(runs.c.priority.desc(), runs.c.queued_at, runs.c.id).limit(limit)
    return [run_of(row) for row in connection.execute(query)]


def load_queue_position(connection: Connection, run_id: str) -> int | None:
    """Return the place in the queue, 1 is next."""
    run = load_run(connection, run_id)
    if run.status is not RunStatus.QUEUED:
        return None
    earlier = or_(
        runs.c.priority > run.priority,
        and_(
            runs.c.priority == run.priority,
            tuple_(runs.c.queued_at, runs.c.id)
            < tuple_(literal(run.queued_at, runs.c.queued_at.type), literal(run.id)),
        ),
    )
    waiting = select(func.count()).select_from(runs).where(runs.c.status == RunStatus.QUEUED, runs.c.kind == "queued")
    return connection.execute(waiting.where(earlier)).scalar_one() + 1


# --- private


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


def _conditions(wanted: RunFilter) -> list[ColumnElement[bool]]:
    words = name_key(wanted.name or "").split()
    conditions: list[ColumnElement[bool]] = [_Position(runs.c.name_key, word) > 0 for word in words]
    if wanted.statuses:
        conditions.append(runs.c.status.in_(sorted(wanted.statuses)))
    if wanted.min_accuracy is not None:
        conditions.append(runs.c.eval_accuracy >= wanted.min_accuracy)
    if wanted.max_runtime_seconds is not None:
        conditions.append(runs.c.train_runtime <= wanted.max_runtime_seconds)
    if wanted.start_date is not None:
        conditions.append(runs.c.created_at >= wanted.start_date)
    if wanted.end_date is not None:
        conditions.append(runs.c.created_at < wanted.end_date)
    if wanted.model_name is not None:
        conditions.append(runs.c.model_name == wanted.model_name)
    if wanted.dataset_digest is not None:
        conditions.append(runs.c.dataset_digest == wanted.dataset_digest)
    return conditions


def _page_query(wanted: RunFilter, without_value: bool, place: dict[str, Any] | None) -> Select[str] | None:
    """Return the query for the ids of one half of the listing; each half walks one index in order."""
    column = _SORT_COLUMNS[wanted.sort_by]
    keys = [column] if column is runs.c.created_at else [column, runs.c.created_at]
    keys.append(runs.c.id)
    query = select(runs.c.id).where(*_conditions(wanted))
    if column.nullable:
        query = query.where(column.is_(None) if without_value else column.is_not(None))
    elif without_value:
        return None
    if place:
        compared = keys[1:] if without_value else keys
        here = tuple_(*(literal(place[key.name], key.type) for key in compared))
        query = query.where(tuple_(*compared) < here if wanted.descending else tuple_(*compared) > here)
    return query.order_by(*(key.desc() if wanted.descending else key.asc() for key in keys))


def _encode_cursor(wanted: RunFilter, last: Run) -> str:
    column = _SORT_COLUMNS[wanted.sort_by]
    value = name_key(last.name) if wanted.sort_by == "name" else getattr(last, wanted.sort_by)
    place = {
        "order": _order_name(wanted),
        "without_value": value is None,
        "created_at": last.created_at.isoformat(),
        "id": last.id,
    }
    if column is not runs.c.created_at:
        place[column.name] = value
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _decode_cursor(wanted: RunFilter) -> dict[str, Any]:
    cursor = wanted.cursor or ""
    try:
        place: dict[str, Any] = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        place["created_at"] = datetime.fromisoformat(place["created_at"])
        fits = (
            place["order"] == _order_name(wanted)
            and isinstance(place["id"], str)
            and isinstance(place["without_value"], bool)
            and place["created_at"].tzinfo is not None
        )
        if fits and wanted.sort_by in ("train_runtime", "eval_accuracy") and not place["without_value"]:
            place[wanted.sort_by] = float(place[wanted.sort_by])
        if fits and wanted.sort_by == "name":
            place["name_key"] = str(place["name_key"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError("the cursor cannot be read", "use next_cursor of the page before, unchanged") from error
    if not fits:
        raise UsageError("the cursor belongs to a listing in another order", "keep sort_by and desc from page to page")
    return place


def _order_name(wanted: RunFilter) -> str:
    return f"{wanted.sort_by} {'desc' if wanted.descending else 'asc'}"


def _runs_by_day(connection: Connection, now: datetime) -> dict[str, int]:
    first_day = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=29)
    if connection.dialect.name == "sqlite":
        day: ColumnElement[str] = func.substr(runs.c.created_at, 1, 10)
    else:
        day = func.to_char(func.timezone("UTC", runs.c.created_at), "YYYY-MM-DD")
    counted = connection.execute(
        select(day.label("day"), func.count()).where(runs.c.created_at >= first_day).group_by("day")
    )
    days = {f"{first_day + timedelta(days=n):%Y-%m-%d}": 0 for n in range(30)}
    return days | {row[0]: row[1] for row in counted}


def _event_of(row: Row[Any]) -> RunEvent:
    values = dict(row._mapping)
    for key in ("from_status", "to_status"):
        values[key] = RunStatus(values[key]) if values[key] else None
    return RunEvent(**values)
