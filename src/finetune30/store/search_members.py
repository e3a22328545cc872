"""Which runs are of a set, trials of searches, or repeats at their ends: their idempotency keys tell it."""

from __future__ import annotations

from sqlalchemy import Connection, or_, select

from finetune30.errors import ConflictError
from finetune30.store.records import Run
from finetune30.store.search_tables import search_ends, searches
from finetune30.store.tables import run_sets

_PREFIX = "search:"
_SET_PREFIX = "set:"  # of `run_sets.RunSet.key_of`


def key_of_trial(search_id: str, number: int) -> str:
    """Return the idempotency key of a trial's run."""
    return f"{_PREFIX}{search_id}:{number}"


def find_group(connection: Connection, run: Run) -> tuple[str, str, str] | None:
    """Return `search` or `set`, id and name of what a run is a part of; None for a run by itself."""
    key = run.idempotency_key or ""
    for prefix, table in ((_PREFIX, searches), (_SET_PREFIX, run_sets)):
        if key.startswith(prefix):
            its = (table.c.id == _owner_of(key)) & (table.c.submitted_by == (run.submitted_by or ""))
            found = connection.execute(select(table.c.id, table.c.name).where(its)).first()
            return None if found is None else (prefix.rstrip(":"), found.id, found.name)
    return None


def require_no_member(connection: Connection, run: Run) -> None:
    """Raise ConflictError, which names the search, for a run that is a trial of one, or a repeat at its end."""
    key = run.idempotency_key or ""
    owner = _owner_of(key)
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


def _owner_of(key: str) -> str:
    return key.partition(":")[2].rpartition(":")[0]
