"""What was decided of trials at the rungs of a search: rows that are written once, before anything is done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from finetune30.store.database import reading, writing
from finetune30.store.run_store import RunStore
from finetune30.store.search_tables import search_rungs

Verdict = Literal["promoted", "stopped"]


@dataclass(frozen=True)
class Rung:
    """A trial at one rung: what it had there, what was decided, and out of what (`compared`).

    `share` is that of its steps which was asked for, `step` of `total_steps` where it was evaluated; `value` is the
    metric of the search there, None where it was no number. `seconds` is how long the attempt took that paused there.
    """

    search_id: str
    number: int
    rung: int
    share: float
    step: int
    total_steps: int
    value: float | None
    verdict: Verdict
    reason: str
    compared: dict[str, Any]
    seconds: float
    decided_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON tree, without the search."""
        names = ("number", "rung", "share", "step", "total_steps", "value", "verdict", "reason", "compared")
        return {**{name: getattr(self, name) for name in names}, "decided_at": self.decided_at.isoformat()}


def record_rung(store: RunStore, search_id: str, number: int, rung: int, **values: Any) -> bool:
    """Write what was decided; False where it is written already, by somebody who decided the same."""
    row = {"search_id": search_id, "number": number, "rung": rung, **values}
    try:
        with writing(store.engine) as connection:
            connection.execute(insert(search_rungs).values(**row, decided_at=store.now(connection)))
    except IntegrityError:
        return False
    return True


def load_rungs(store: RunStore, search_id: str) -> Mapping[tuple[int, int], Rung]:
    """Return what was decided in a search, by trial and rung, in this order."""
    query = select(search_rungs).where(search_rungs.c.search_id == search_id)
    with reading(store.engine) as connection:
        rows = connection.execute(query.order_by(search_rungs.c.number, search_rungs.c.rung))
        return {(row.number, row.rung): Rung(**row._mapping) for row in rows}
