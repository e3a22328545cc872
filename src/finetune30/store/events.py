"""Writing events: each in the transaction of the change that it tells of."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert

from finetune30.store.records import RunStatus
from finetune30.store.tables import run_events

_INSERT = insert(run_events)


def record_event(
    connection: Connection,
    run_id: str,
    at: datetime,
    kind: str,
    attempt: int,
    from_status: RunStatus | None,
    to_status: RunStatus | None,
    owner: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Append one event; call it after the guarded UPDATE, whose row lock puts the numbers of a run in order."""
    values = {"run_id": run_id, "at": at, "kind": kind, "attempt": attempt, "owner": owner, "detail": detail}
    connection.execute(_INSERT, {**values, "from_status": from_status, "to_status": to_status})
