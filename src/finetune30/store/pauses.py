"""What is decided of PAUSED runs: they go on exactly where they paused, or are CANCELLED with their checkpoint kept.

A run pauses at a step of its own plan, so whoever takes it up trains what an undisturbed run would have trained. In the
database it stands as CANCELLED with a `paused_at` that is its `finished_at`, and so do its events: releases before
r0017 do not know the state.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, update

from finetune30.store.attempt_states import AttemptStates, queued_lease
from finetune30.store.database import writing
from finetune30.store.events import record_event
from finetune30.store.records import Run, RunStatus
from finetune30.store.tables import runs


class Pauses(AttemptStates):
    """The deciding side of the run store, on one database with one clock."""

    def promote(self, run: Run, pause_at: float | None) -> bool:
        """Queue a PAUSED run again: its next attempt goes on from the checkpoint of the pause, up to `pause_at`.

        A local one belongs to this process then. False where it changed since `run` was read.
        """
        with writing(self.engine) as connection:
            now = self.now(connection)
            values = {
                "status": RunStatus.QUEUED,
                "pause_at": pause_at,
                "paused_at": None,
                "failures": 0,
                "queued_at": now,
                "published_at": None,
                "finished_at": None,
                **queued_lease(run.kind, None, now),
            }
            is_first = connection.execute(update(runs).where(*_paused(run)).values(**values)).rowcount == 1
            if is_first:
                state = run.status.stored
                record_event(connection, run.id, now, "promoted", run.attempt, state, RunStatus.QUEUED)
        return is_first

    def stop_paused(self, run: Run, reason: str) -> bool:
        """Let a PAUSED run become CANCELLED, its checkpoint kept; whoever resumes it trains it to its end.

        False where it changed since `run` was read.
        """
        with writing(self.engine) as connection:
            return self.end_pause(connection, run, {"pause_at": None}, reason)

    def end_pause(self, connection: Connection, run: Run, values: dict[str, Any], reason: str) -> bool:
        """Let a PAUSED run become CANCELLED within a transaction; False where it changed since `run` was read."""
        is_first = connection.execute(update(runs).where(*_paused(run)).values(paused_at=None, **values)).rowcount == 1
        if is_first:
            state, detail = run.status.stored, {"reason": reason}
            now = self.now(connection)
            record_event(connection, run.id, now, "stopped", run.attempt, state, RunStatus.CANCELLED, detail=detail)
        return is_first


def _paused(run: Run) -> tuple[Any, ...]:
    """What holds for the row of a run that pauses where it did when `run` was read."""
    return (
        runs.c.id == run.id,
        runs.c.status == run.status.stored,
        runs.c.attempt == run.attempt,
        runs.c.paused_at == runs.c.finished_at,
        runs.c.pause_at == run.pause_at,
    )
