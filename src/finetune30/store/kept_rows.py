"""What was made of the rows of runs, kept for as long as these rows stay as they are.

Making it is dear (a page of fifty rows took nine tenths of the time of its answer), and most rows that are listed ended
long ago. Whether a row is still the one that was read is asked of the database every time, so nothing that is kept is
ever older than the row, whichever process changed it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Text, bindparam, cast, func, select, type_coerce

from finetune30.store.pages import columns_but
from finetune30.store.queries import run_of
from finetune30.store.records import Run
from finetune30.store.tables import run_events, runs

#: Of about 1 KB each where a listing's JSON is kept.
MOST_KEPT = 20_000

T = TypeVar("T")
#: Equal for two looks at a run only if its row was the same: every change leaves an event in its transaction, but for
#: renewals of a lease (which move its end or tell progress) and scores that are filled in later.
Version = tuple[Any, ...]
_LAST_EVENT = (
    select(func.max(run_events.c.number)).where(run_events.c.run_id == runs.c.id).correlate(runs).scalar_subquery()
)
_VERSION = (
    _LAST_EVENT.label("last_event"),
    type_coerce(runs.c.lease_until, Text).label("lease_end"),
    cast(runs.c.progress, Text).label("told_progress"),
    runs.c.score_name.label("scored_by"),
)
_IS_ASKED = runs.c.id.in_(bindparam("ids", expanding=True))
_VERSIONS = select(runs.c.id, *_VERSION).where(_IS_ASKED)
_READ = columns_but(frozenset({"config", "metrics"}))
_READ_NAMES = tuple(column.name for column in _READ)
_ROWS = select(*_READ, *_VERSION).where(_IS_ASKED)


class KeptRows(Generic[T]):
    """`make` of runs, without their configurations and metrics; safe to share between threads."""

    def __init__(self, make: Callable[[Run], T], most: int = MOST_KEPT) -> None:
        self._make, self._most = make, most
        self._kept: dict[str, tuple[Version, T]] = {}
        self._lock = threading.Lock()

    def load(self, connection: Connection, ids: Sequence[str]) -> list[T]:
        """Return what is made of these runs, in their order; those that are gone are left out."""
        versions = connection.execute(_VERSIONS, {"ids": ids}).all() if ids else ()
        found: dict[str, T] = {}
        changed = []
        for run_id, *version in versions:
            kept = self._kept.get(run_id)
            if kept is not None and kept[0] == tuple(version):
                found[run_id] = kept[1]
            else:
                changed.append(run_id)
        if changed:
            found |= self._make_anew(connection, changed)
        return [found[run_id] for run_id in ids if run_id in found]

    def _make_anew(self, connection: Connection, ids: Sequence[str]) -> dict[str, T]:
        made: dict[str, tuple[Version, T]] = {}
        rows: Any = connection.execute(_ROWS, {"ids": ids}).all()
        for row in rows:
            version = tuple(row[len(_READ) :])  # it comes with the row, which may have changed since the look before
            made[row[0]] = (version, self._make(run_of(row, _READ_NAMES)))
        with self._lock:
            self._kept.update(made)
            while len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
        return {run_id: thing for run_id, (_, thing) in made.items()}
