"""Totals for monitoring, each from an index alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select

from finetune30.store.database import reading
from finetune30.store.queries import count_by_status
from finetune30.store.records import RunStatus
from finetune30.store.run_store import RunStore
from finetune30.store.tables import run_events, runs
from finetune30.store.workers import count_places, load_workers


@dataclass(frozen=True)
class RunTotals:
    """Counts over all runs and events; `oldest_wait` and `total_runtime` (of `timed_runs` runs) in seconds.

    `places` are those of the workers heard of, `busy` those that running queued runs take; `shortest_lease` is how many
    seconds the lease that ends first is still good for (negative: it ran out, and the run will be lost at the next
    look; None: nothing is running).
    """

    by_status: Mapping[str, int]
    queue_length: int
    oldest_wait: float
    workers: int
    places: int
    busy: int
    shortest_lease: float | None
    timed_runs: int
    total_runtime: float
    events: Mapping[str, int]


def load_run_totals(store: RunStore) -> RunTotals:
    """Return the totals. Raises StorageError."""
    workers = load_workers(store)
    waits = (runs.c.status == RunStatus.QUEUED, runs.c.kind == "queued")
    with reading(store.engine) as connection:
        now = store.now(connection)
        by_status = count_by_status(connection)
        length, oldest = connection.execute(select(func.count(), func.min(runs.c.queued_at)).where(*waits)).one()
        lease = connection.execute(
            select(func.min(runs.c.lease_until)).where(runs.c.status == RunStatus.RUNNING)
        ).scalar_one()
        timed, total = connection.execute(
            select(func.count(runs.c.train_runtime), func.sum(runs.c.train_runtime)).where(
                runs.c.status == RunStatus.SUCCEEDED
            )
        ).one()
        events = {
            row[0]: row[1]
            for row in connection.execute(select(run_events.c.kind, func.count()).group_by(run_events.c.kind))
        }
    wait = max(0.0, (now - oldest).total_seconds()) if oldest else 0.0
    places, busy = count_places(store, workers)
    left = (lease - now).total_seconds() if lease else None
    return RunTotals(by_status, length, wait, len(workers), places, busy, left, timed, total or 0.0, events)
