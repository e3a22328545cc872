"""Which runs are trials of searches, or repeats at their ends: their idempotency keys tell it."""

from __future__ import annotations

from sqlalchemy import Connection, or_, select

from finetune30.errors import ConflictError
from finetune30.store.records import Run
from finetune30.store.tables import search_ends, searches

_PREFIX = "search:"
_SET_PREFIX = "set:"  # of `run_sets.RunSet.key_of`


def key_of_trial(search_id: str, number: int) -> str:
    """Return the idempotency key of a trial's run."""
    return f"{_PREFIX}{search_id}:{number}"


def require_no_member(connection: Connection, run: Run) -> None:
    """Raise ConflictError, which names the search, for a run that is a trial of one, or a repeat at its end."""
    key = run.idempotency_key or ""
    owner = key.partition(":")[2].rpartition(":")[0]
    if key.startswith(_PREFIX):
        its, what = searches.c.id == owner, "a trial"
    elif key.startswith(_SET_PREFIX):
        ends = select(search_ends.c.search_id).where(
            or_(search_ends.c.default_set == owner, search_ends.c.best_set == owner)
        )
        its, what = searches.c.id.in_(ends), "a repeat"
    else:
        return
    query = select(searches.c.id, searches.c.name).where(its, searches.c.submitted_by == (run.submitted_by or ""))
    found = connection.execute(query).first()
    if found is not None:
        raise ConflictError(
            f"run {run.id} is {what} of search {found.id[:8]} '{found.name}' and cannot be deleted alone",
            f"delete the whole search: ft30 search delete {found.id[:8]}",
        )
