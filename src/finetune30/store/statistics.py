"""Totals over all runs, and the best run of each data version."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select

from finetune30.store.queries import count_by_status, split_tags
from finetune30.store.records import BestRun, RunStats, RunStatus
from finetune30.store.tables import runs

#: Of how many data versions and scores the best run is told, and among how many of the newest runs these are sought:
#: so the cost stays the same however many runs there are.
MOST_BEST = 20
_NEWEST_RUNS = 200
_BEST = (
    runs.c.dataset_digest,
    runs.c.dataset_name,
    runs.c.score_name,
    runs.c.score,
    runs.c.score_greater_is_better,
    runs.c.score_format,
    runs.c.id.label("run_id"),
    runs.c.name.label("run_name"),
)


def load_stats(connection: Connection, now: datetime) -> RunStats:
    """Return totals over all runs."""
    by_status = count_by_status(connection)
    mean_accuracy, mean_runtime, total_runtime = connection.execute(
        select(func.avg(runs.c.eval_accuracy), func.avg(runs.c.train_runtime), func.sum(runs.c.train_runtime)).where(
            runs.c.status == RunStatus.SUCCEEDED
        )
    ).one()
    most_accurate = connection.execute(
        select(runs.c.id, runs.c.eval_accuracy)
        .where(runs.c.eval_accuracy.is_not(None))
        .order_by(runs.c.eval_accuracy.desc(), runs.c.created_at.desc())
        .limit(1)
    ).one_or_none()
    marked = connection.execute(
        select(runs.c.tags, runs.c.archived, func.count()).group_by(runs.c.tags, runs.c.archived)
    ).all()
    return RunStats(
        total=sum(by_status.values()),
        by_status=by_status,
        mean_accuracy=mean_accuracy,
        best_accuracy=most_accurate.eval_accuracy if most_accurate else None,
        best_run_id=most_accurate.id if most_accurate else None,
        mean_runtime_seconds=mean_runtime,
        total_runtime_seconds=total_runtime or 0.0,
        last_30_days=_runs_by_day(connection, now),
        best=load_best_runs(connection),
        archived=sum(count for _, archived, count in marked if archived),
        tags=_count_tags(marked),
    )


def load_best_runs(connection: Connection) -> tuple[BestRun, ...]:
    """Return the best run of each data version and score used last, the latest first; archived ones stay out.

    Figures are compared within one data version and one score only.
    """
    newest = (
        select(runs.c.dataset_digest, runs.c.score_name, runs.c.created_at)
        .where(runs.c.score.is_not(None), runs.c.dataset_digest.is_not(None), ~runs.c.archived)
        .order_by(runs.c.created_at.desc(), runs.c.id.desc())
        .limit(_NEWEST_RUNS)
        .subquery()
    )
    last = func.max(newest.c.created_at)
    used = (
        select(newest.c.dataset_digest, newest.c.score_name, last.label("last"))
        .group_by(newest.c.dataset_digest, newest.c.score_name)
        .order_by(last.desc(), newest.c.score_name, newest.c.dataset_digest)
        .limit(MOST_BEST)
        .subquery()
    )
    best_id = (
        select(runs.c.id)
        .where(
            runs.c.dataset_digest == used.c.dataset_digest,
            runs.c.score_name == used.c.score_name,
            ~runs.c.archived,
        )
        .order_by(runs.c.score_rank.desc(), runs.c.created_at.desc(), runs.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    order = (used.c.last.desc(), used.c.score_name, used.c.dataset_digest)
    ids = connection.execute(select(best_id).select_from(used).order_by(*order)).scalars().all()
    found = connection.execute(select(*_BEST).where(runs.c.id.in_(ids)))
    by_id = {row.run_id: BestRun(**row._mapping) for row in found}
    return tuple(by_id[run_id] for run_id in ids)


def _count_tags(marked: Sequence[Row[Any, Any, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for joined, _, count in marked:
        for tag in split_tags(joined):
            counts[tag] = counts.get(tag, 0) + count
    return dict(sorted(counts.items()))


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
