"""Which workers there are: each one reports itself while it lives. Nothing depends on it; it is for people to see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update

from finetune30.store.database import reading, writing
from finetune30.store.process_identity import is_dead
from finetune30.store.run_store import RunStore
from finetune30.store.tables import workers

#: A worker that was not heard of for so long is no longer listed.
SILENCE_SECONDS = 90.0


@dataclass(frozen=True)
class Worker:
    """A worker process: `slots` are the places where it trains ("cpu", "cuda:0", "mps"), one run each."""

    owner: str
    node: str
    slots: tuple[str, ...]
    started_at: datetime
    seen_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        times = {"started_at": self.started_at.isoformat(), "seen_at": self.seen_at.isoformat()}
        return {**vars(self), "slots": list(self.slots), **times}


def report_worker(store: RunStore, owner: str, node: str, slots: tuple[str, ...]) -> None:
    """Record that the worker lives, and forget those that were silent for long."""
    with writing(store.engine) as connection:
        now = store.now(connection)
        seen = connection.execute(update(workers).where(workers.c.owner == owner).values(seen_at=now))
        if seen.rowcount == 0:
            row = {"owner": owner, "node": node, "slots": list(slots), "started_at": now, "seen_at": now}
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
    found = (Worker(row.owner, row.node, tuple(row.slots), row.started_at, row.seen_at) for row in rows)
    return [worker for worker in found if not is_dead(worker.owner)]
