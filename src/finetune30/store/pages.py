"""The listing of runs: what a filter keeps, in one of the orders, page by page.

A page goes on behind the last run of the page before (its cursor holds the values that it is ordered by), so it costs
the same wherever it lies, and runs that come or go meanwhile shift nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Column as TableColumn
from sqlalchemy import ColumnElement, Connection, Integer, Row, Select, and_, func, literal, select, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from finetune30.errors import UsageError
from finetune30.store.queries import NOT_IN_RUN, is_in, join_tags, name_key, run_of
from finetune30.store.records import RunFilter, RunPage, SortKey
from finetune30.store.tables import runs

MAX_PAGE = 1000


class _Order(NamedTuple):
    """Columns of an order before created_at and id, and of what kind their values are; all are null, or none."""

    columns: tuple[TableColumn[Any], ...]
    kinds: tuple[type, ...]

    @property
    def is_nullable(self) -> bool:
        return any(column.nullable for column in self.columns)


_ORDERS: dict[SortKey, _Order] = {
    "created_at": _Order((), ()),
    "name": _Order((runs.c.name_key,), (str,)),
    "train_runtime": _Order((runs.c.train_runtime,), (float,)),
    "score": _Order((runs.c.score_name, runs.c.score_rank), (str, float)),
    "eval_accuracy": _Order((runs.c.eval_accuracy,), (float,)),
}


class _Position(FunctionElement[int]):
    """Where one text stands in another, from 1, else 0: half the time of LIKE on a long scan."""

    type = Integer()
    inherit_cache = True


@compiles(_Position)
def _compile_position(element: _Position, compiler: SQLCompiler, **options: Any) -> str:
    name = "strpos" if compiler.dialect.name == "postgresql" else "instr"
    return f"{name}({compiler.process(element.clauses, **options)})"


#: What each field of a filter keeps, for values that are set.
_KEEPS: dict[str, Callable[[Any], ColumnElement[bool]]] = {
    "name": lambda name: and_(True, *(_Position(runs.c.name_key, word) > 0 for word in name_key(name).split())),
    "statuses": is_in,
    "min_score": lambda least: runs.c.score >= least,
    "max_score": lambda most: runs.c.score <= most,
    "score_name": lambda name: runs.c.score_name == name,
    "min_accuracy": lambda least: runs.c.eval_accuracy >= least,
    "max_runtime_seconds": lambda most: runs.c.train_runtime <= most,
    "start_date": lambda moment: runs.c.created_at >= moment,
    "end_date": lambda moment: runs.c.created_at < moment,
    "model_name": lambda name: runs.c.model_name == name,
    "dataset_digest": lambda digest: runs.c.dataset_digest == digest,
    "tags": lambda tags: and_(True, *(_Position(runs.c.tags, join_tags([tag])) > 0 for tag in sorted(tags))),
    "starred": lambda starred: runs.c.starred == starred,
    "archived": lambda archived: runs.c.archived == archived,
}


def load_page(connection: Connection, wanted: RunFilter) -> RunPage:
    """Return one page; see `load_page_ids`."""
    ids, next_cursor = load_page_ids(connection, wanted)
    unread = {*(() if wanted.with_config else ("config",)), *(() if wanted.with_metrics else ("metrics",))}
    rows = connection.execute(select(*columns_but(frozenset(unread))).where(runs.c.id.in_(ids)))
    by_id = {row.id: run_of(row) for row in rows}
    return RunPage([by_id[run_id] for run_id in ids if run_id in by_id], next_cursor)


def load_page_ids(connection: Connection, wanted: RunFilter) -> tuple[list[str], str | None]:
    """Return the ids of one page, first of the runs that have the sort value, in its order, then of those without one;
    and the cursor of the next page, None on the last one.

    Raises UsageError for a limit out of range or a cursor that belongs to another order.
    """
    if not 1 <= wanted.limit <= MAX_PAGE:
        raise UsageError(f"limit {wanted.limit} is out of range", f"use 1 to {MAX_PAGE}")
    if wanted.sort_by not in _ORDERS:
        raise UsageError(f"cannot sort by {wanted.sort_by!r}", f"use one of: {', '.join(_ORDERS)}")
    place = _decode_cursor(wanted) if wanted.cursor else None
    found: list[Row[Any]] = []
    for without_value in (False, True):
        if (place and place["without_value"] and not without_value) or len(found) > wanted.limit:
            continue
        query = _page_query(wanted, without_value, place if place and place["without_value"] == without_value else None)
        if query is not None:
            found += connection.execute(query.limit(wanted.limit + 1 - len(found))).all()  # fetched in one go
    page = found[: wanted.limit]
    return [row.id for row in page], _encode_cursor(wanted, page[-1]) if len(found) > wanted.limit else None


def count_runs(connection: Connection, wanted: RunFilter) -> int:
    """Return how many runs the filter keeps."""
    return connection.execute(select(func.count()).select_from(runs).where(*_conditions(wanted))).scalar_one()


@cache
def columns_but(unread: frozenset[str]) -> tuple[TableColumn[Any], ...]:
    """Return the columns that `run_of` makes a run of, without `config` or `metrics` where these are unread."""
    return tuple(column for column in runs.c if column.name not in unread and column.name not in NOT_IN_RUN)


# --- private


def _conditions(wanted: RunFilter) -> list[ColumnElement[bool]]:
    given = {name: getattr(wanted, name) for name in _KEEPS}
    return [_KEEPS[name](value) for name, value in given.items() if value is not None and value != frozenset()]


def _page_query(wanted: RunFilter, without_value: bool, place: dict[str, Any] | None) -> Select[Any] | None:
    """Return the query for ids and sort values of one half of the listing; each half walks one index in order."""
    order = _ORDERS[wanted.sort_by]
    keys = [*order.columns, runs.c.created_at, runs.c.id]
    query = select(*keys).where(*_conditions(wanted))
    if order.is_nullable:
        query = query.where(*(c.is_(None) if without_value else c.is_not(None) for c in order.columns))
    elif without_value:
        return None
    if place:
        compared = keys[len(order.columns) :] if without_value else keys
        here = tuple_(*(literal(place[key.name], key.type) for key in compared))
        query = query.where(tuple_(*compared) < here if wanted.descending else tuple_(*compared) > here)
    return query.order_by(*(key.desc() if wanted.descending else key.asc() for key in keys))


def _encode_cursor(wanted: RunFilter, last: Row[Any]) -> str:
    values = {column.name: last._mapping[column.name] for column in _ORDERS[wanted.sort_by].columns}
    place = {
        "order": _order_name(wanted),
        "without_value": None in values.values(),
        "created_at": last.created_at.isoformat(),
        "id": last.id,
        **values,
    }
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _decode_cursor(wanted: RunFilter) -> dict[str, Any]:
    cursor = wanted.cursor or ""
    order = _ORDERS[wanted.sort_by]
    try:
        place: dict[str, Any] = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        place["created_at"] = datetime.fromisoformat(place["created_at"])
        fits = (
            place["order"] == _order_name(wanted)
            and isinstance(place["id"], str)
            and isinstance(place["without_value"], bool)
            and place["created_at"].tzinfo is not None
        )
        if fits and not place["without_value"]:
            for column, kind in zip(order.columns, order.kinds, strict=True):
                place[column.name] = kind(place[column.name])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError("the cursor cannot be read", "use next_cursor of the page before, unchanged") from error
    if not fits:
        raise UsageError("the cursor belongs to a listing in another order", "keep sort_by and desc from page to page")
    return place


def _order_name(wanted: RunFilter) -> str:
    return f"{wanted.sort_by} {'desc' if wanted.descending else 'asc'}"
