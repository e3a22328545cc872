"""Which workers there are: each one reports itself while it lives. Nothing depends on it; it is for people to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

import finetune30
from finetune30.store.database import reading, writing
from finetune30.store.process_identity import is_dead
from finetune30.store.run_store import RunStore
from finetune30.store.tables import workers

#: A worker that was not heard of for so long is no longer listed.
SILENCE_SECONDS = 90.0


@dataclass(frozen=True)
class Worker:
    """A worker process: `slots` are the places where it trains ("cpu", "cuda:0", "mps"), one run each.

    `version` is that of its package, None for one up to 0.2.0, which does not tell. A `draining` one takes nothing new
    and ends with its attempts. `refused` are the waiting runs that its version cannot carry out: id -> why.
    """

    owner: str
    node: str
    slots: tuple[str, ...]
    started_at: datetime
    seen_at: datetime
    version: str | None = None
    draining: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        times = {"started_at": self.started_at.isoformat(), "seen_at": self.seen_at.isoformat()}
        return {**vars(self), "slots": list(self.slots), "refused": dict(self.refused), **times}


def report_worker(
    store: RunStore,
    owner: str,
    node: str,
    slots: tuple[str, ...],
    *,
    draining: bool = False,
    refused: Mapping[str, str] | None = None,
) -> None:
    """Record that the worker lives and how it is, and forget those that were silent for long."""
    with writing(store.engine) as connection:
        now = store.now(connection)
        told = {"seen_at": now, "version": finetune30.__version__, "draining": draining, "refused": dict(refused or {})}
        seen = connection.execute(update(workers).where(workers.c.owner == owner).values(**told))
        if seen.rowcount == 0:
            row = {"owner": owner, "node": node, "slots": list(slots), "started_at": now, **told}
            connection.execute(insert(workers).values(**row))
        connection.execute(delete(workers).where(workers.c.seen_at < now - timedelta(seconds=SILENCE_SECONDS)))


def remove_worker(store: RunStore, owner: str) -> None:
    """Forget a worker that stops."""
    with writing(store.engine) as connection:
        connection.execute(delete(workers).where(workers.c.owner == owner))


def load_workers(store: RunStore) -> list[Worker]:
    """Return the workers that were heard of lately and are not known to be dead, by node name."""
    with reading(store.engine) as connection:
        since = store.now(connection) - timedelta(seconds=SILENCE_SECONDS)
        rows = connection.execute(select(workers).where(workers.c.seen_at >= since).order_by(workers.c.node)).all()
    return [_worker_of(row) for row in rows if not is_dead(row.owner)]


def count_places(store: RunStore, found: Sequence[Worker]) -> tuple[int, int]:
    """Return how many places these workers have, and how many running runs take in all.

    Of a draining worker only the places count that a run still takes.
    """
    busy = store.busy_places()
    places = sum(busy.get(worker.owner, 0) if worker.draining else len(worker.slots) for worker in found)
    return places, sum(busy.values())


def _worker_of(row: Row[Any]) -> Worker:
    facts = (row.version, row.draining, row.refused or {})
    return Worker(row.owner, row.node, tuple(row.slots), row.started_at, row.seen_at, *facts)
