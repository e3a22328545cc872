"""Finding runs whose attempt is gone, and deciding what becomes of them; and what earlier releases left undone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, or_, select, update

from finetune30.store.events import record_event
from finetune30.store.process_identity import describe_owner, is_dead
from finetune30.store.queries import run_of
from finetune30.store.records import MAX_LOST_ATTEMPTS, Change, Run, RunStatus
from finetune30.store.scores import NO_SCORE, score_columns
from finetune30.store.tables import runs

#: So many trees of metrics are read at a time to find scores in them.
MOST_METRICS_READ = 500


def find_lost_runs(connection: Connection, now: datetime) -> list[tuple[Run, str]]:
    """Return runs that nobody carries out any more, each with the reason."""
    held = or_(
        runs.c.status == RunStatus.RUNNING, and_(runs.c.status == RunStatus.QUEUED, runs.c.lease_owner.is_not(None))
    )
    lost = []
    for row in connection.execute(select(runs).where(held)):
        run = run_of(row)
        if reason := _reason_of_loss(run, now):
            lost.append((run, reason))
    return lost


def move_lost_run(connection: Connection, run: Run, reason: str, now: datetime) -> Change | None:
    """Move a lost run on; None when it changed or its lease was renewed since it was looked at."""
    state = state_after_loss(run)
    error = {
        "error": "process_lost",
        "message": f"attempt {run.attempt} of the run ended without a word: {reason}",
        "remedy": f"go on from its last checkpoint: ft30 resume {run.id[:8]}",
    }
    values = values_after_loss(run, state, now, error)
    changed = connection.execute(
        update(runs)
        .where(
            runs.c.id == run.id,
            runs.c.status == run.status,
            runs.c.attempt == run.attempt,
            runs.c.lease_owner == run.lease_owner,
            runs.c.lease_until == run.lease_until,
        )
        .values(status=state, **values)
    )
    if changed.rowcount == 0:
        return None
    record_event(connection, run.id, now, "lost", run.attempt, run.status, state, run.lease_owner, {"reason": reason})
    return Change(run.id, run.attempt, state, reason)


def find_unscored_runs(connection: Connection, scoreless: set[str]) -> dict[str, dict[str, Any]]:
    """Return the score columns of finished runs that have none, although their metrics tell one, by id.

    So an attempt of the release before leaves them that ends after the tables got these columns. At most
    MOST_METRICS_READ runs are looked at; those whose metrics tell none join `scoreless`, whose runs are passed over.
    """
    # By two questions: the first one is answered from an index alone, and nearly always finds nothing new.
    unscored = connection.execute(select(runs.c.id).where(_is_unscored())).scalars().all()
    ids = [run_id for run_id in unscored if run_id not in scoreless][:MOST_METRICS_READ]
    found = connection.execute(select(runs.c.id, runs.c.metrics).where(runs.c.id.in_(ids))) if ids else ()
    scored = {row.id: score_columns(row.metrics or {}) for row in found}
    scoreless.update(run_id for run_id, columns in scored.items() if columns == NO_SCORE)
    return {run_id: columns for run_id, columns in scored.items() if columns != NO_SCORE}


def fill_score(connection: Connection, run_id: str, columns: dict[str, Any]) -> None:
    """Give a finished run the score that it lacks; one that has a score by now keeps it."""
    connection.execute(update(runs).where(runs.c.id == run_id, _is_unscored()).values(**columns))


def state_after_loss(run: Run) -> RunStatus:
    """Return the state of a run whose attempt was lost to a machine fault."""
    if run.cancel_requested:
        return RunStatus.CANCELLED
    if run.kind == "local" or run.failures + 1 >= MAX_LOST_ATTEMPTS:
        return RunStatus.FAILED
    return RunStatus.QUEUED


def values_after_loss(run: Run, state: RunStatus, now: datetime, error: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that change with a lost attempt, apart from the state."""
    values: dict[str, Any] = {"failures": run.failures + 1, "lease_owner": None, "lease_until": None, "error": error}
    if state is RunStatus.QUEUED:
        return {**values, "published_at": None}  # it keeps its place in the queue
    return {**values, "finished_at": now}


def _is_unscored() -> ColumnElement[bool]:
    # The joined text keeps the database from an index by state, which holds no scores.
    succeeded = runs.c.status.concat("") == RunStatus.SUCCEEDED
    return and_(succeeded, runs.c.score_name.is_(None), runs.c.score.is_(None))


def _reason_of_loss(run: Run, now: datetime) -> str | None:
    dead = is_dead(run.lease_owner) if run.lease_owner else None
    owner = describe_owner(run.lease_owner or "")
    if dead:
        return f"its {owner} is gone"
    if dead is False and run.kind == "local":
        return None  # a living process that merely slept, as a closed laptop does, keeps its run
    if run.lease_until is None or run.lease_until < now:
        return f"the lease of {owner} ran out at {run.lease_until:%Y-%m-%d %H:%M:%S} UTC"
    return None
