"""Which runs are trials of searches: their idempotency keys tell it."""

from __future__ import annotations

from sqlalchemy import Connection, select

from finetune30.errors import ConflictError
from finetune30.store.records import Run
from finetune30.store.tables import searches

_PREFIX = "search:"


def key_of_trial(search_id: str, number: int) -> str:
    """Return the idempotency key of a trial's run."""
    return f"{_PREFIX}{search_id}:{number}"


def require_no_trial(connection: Connection, run: Run) -> None:
    """Raise ConflictError, which names the search, for a run that is a trial of one."""
    key = run.idempotency_key or ""
    if not key.startswith(_PREFIX):
        return
    search_id = key.removeprefix(_PREFIX).rpartition(":")[0]
    its = (searches.c.id == search_id) & (searches.c.submitted_by == (run.submitted_by or ""))
    name = connection.execute(select(searches.c.name).where(its)).scalar()
    if name is not None:
        raise ConflictError(
            f"run {run.id} is a trial of search {search_id[:8]} '{name}' and cannot be deleted alone",
            f"delete the whole search: ft30 search delete {search_id[:8]}",
        )
