"""What an attempt may do with the run that it claimed.

Every change is one guarded UPDATE on state, attempt and holder, with its event in the same transaction. An UPDATE that
changes no row means that somebody else was there first; nothing is written then, and StaleAttemptError says so.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, select, text, update

from finetune30.errors import StaleAttemptError
from finetune30.store import queries, reconciliation
from finetune30.store.database import reading, writing
from finetune30.store.events import record_event
from finetune30.store.fair_queue import has_room
from finetune30.store.process_identity import own_identity
from finetune30.store.records import Claim, Lease, Run, RunKind, RunStatus, utc_now
from finetune30.store.scores import finite_number, score_columns
from finetune30.store.tables import runs

#: How long a local run may stay QUEUED on a host that cannot see its process.
LOCAL_START_SECONDS = 300.0

_DESCRIBED = frozenset(
    {"device", "precision", "dataset_digest", "model_name", "dataset_name", "config", "config_digest", "progress"}
)
#: Metrics that are columns too.
_MEASURED = ("train_runtime", "eval_accuracy", "eval_f1", "eval_loss")


class AttemptStates:
    """The attempt's side of the run store, on one database with one clock."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime] = utc_now) -> None:
        self.engine = engine
        self._clock = clock

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def claim(
        self, run_id: str, *, owner: str | None = None, lease_seconds: float, most_running: int | None = None
    ) -> Claim | None:
        """Take a QUEUED run for a new attempt; None when it is not to be had (any more).

        With `most_running` also when its submitter has that many runs running.
        """
        owner = owner or own_identity()
        with writing(self.engine) as connection:
            if most_running is not None and not has_room(connection, run_id, most_running):
                return None
            now = self.now(connection)
            taken = connection.execute(
                update(runs)
                .where(runs.c.id == run_id, runs.c.status == RunStatus.QUEUED, ~runs.c.cancel_requested)
                .values(
                    status=RunStatus.RUNNING,
                    attempt=runs.c.attempt + 1,
                    lease_owner=owner,
                    lease_until=now + timedelta(seconds=lease_seconds),
                    started_at=now,
                    finished_at=None,
                    error=None,
                    paused_at=None,
                )
            )
            if taken.rowcount == 0:
                return None
            attempt = connection.execute(select(runs.c.attempt).where(runs.c.id == run_id)).scalar_one()
            record_event(connection, run_id, now, "claimed", attempt, RunStatus.QUEUED, RunStatus.RUNNING, owner)
        return Claim(run_id, attempt, owner)

    def renew(self, claim: Claim, lease_seconds: float, progress: dict[str, Any] | None = None) -> Lease:
        """Prolong the lease and record progress; `held` is False when the run went to somebody else."""
        with writing(self.engine) as connection:
            now = self.now(connection)
            values: dict[str, Any] = {"lease_until": now + timedelta(seconds=lease_seconds)}
            if progress is not None:
                values["progress"] = progress
            held = connection.execute(update(runs).where(*_held_by(claim)).values(**values)).rowcount == 1
            asked = connection.execute(select(runs.c.cancel_requested).where(runs.c.id == claim.run_id)).scalar()
        return Lease(held, bool(asked))

    def lease(self, claim: Claim) -> Lease:
        """Tell, without writing, whether the attempt still holds the run and whether it was asked to stop."""
        with reading(self.engine) as connection:
            row = connection.execute(
                select(runs.c.status, runs.c.attempt, runs.c.lease_owner, runs.c.cancel_requested).where(
                    runs.c.id == claim.run_id
                )
            ).one_or_none()
        if row is None:
            return Lease(held=False, cancel_requested=False)
        held = (row.status, row.attempt, row.lease_owner) == (RunStatus.RUNNING, claim.attempt, claim.owner)
        return Lease(held, row.cancel_requested)

    def describe(self, claim: Claim, **facts: Any) -> None:
        """Record what the attempt found out: device, precision, dataset_digest, model_name, dataset_name, and the
        resolved config with its config_digest; `progress` at once, where no heartbeat may be waited for.

        Raises StaleAttemptError when another attempt holds the run.
        """
        unknown = facts.keys() - _DESCRIBED
        if unknown:
            raise TypeError(f"cannot describe {sorted(unknown)}; known: {sorted(_DESCRIBED)}")
        detail = {key: value for key, value in facts.items() if key not in ("config", "progress")}
        with writing(self.engine) as connection:
            self._change_held(connection, claim, "described", RunStatus.RUNNING, facts, detail)

    def succeed(self, claim: Claim, metrics: dict[str, Any], manifest_sha256: str) -> RunStatus:
        """Record the published result: RUNNING becomes SUCCEEDED, or CANCELLED when that was asked for before.

        `metrics` is the tree of metrics.json; its keys that begin with score become columns. A retry of the cancelled
        run finds the result complete. Returns the new state. Raises StaleAttemptError.
        """
        values = {
            "metrics": metrics,
            "manifest_sha256": manifest_sha256,
            **{key: finite_number(metrics.get(key)) for key in _MEASURED},
            **score_columns(metrics),
        }
        manifest = {"manifest_sha256": manifest_sha256}
        with writing(self.engine) as connection:
            if self._held_run(connection, claim).cancel_requested:
                detail = {"reason": "asked for before the result was recorded", **manifest}
                self._finish_within(connection, claim, "cancelled", RunStatus.CANCELLED, {}, detail)
                return RunStatus.CANCELLED
            self._finish_within(connection, claim, "succeeded", RunStatus.SUCCEEDED, values, manifest)
            return RunStatus.SUCCEEDED

    def fail(self, claim: Claim, error: dict[str, Any], *, may_retry: bool = False) -> RunStatus:
        """Record an error in the shape of `Finetune30Error.as_dict`: RUNNING becomes FAILED.

        With `may_retry` (machine faults) a queued run goes back to QUEUED until its third lost attempt, or to CANCELLED
        when that was asked for. Returns the new state. Raises StaleAttemptError.
        """
        with writing(self.engine) as connection:
            if not may_retry:
                self._finish_within(connection, claim, "failed", RunStatus.FAILED, {"error": error}, error)
                return RunStatus.FAILED
            run = self._held_run(connection, claim)
            state = reconciliation.state_after_loss(run)
            values = reconciliation.values_after_loss(run, state, self.now(connection), error)
            self._change_held(connection, claim, "lost", state, values, error)
            return state

    def cancelled(self, claim: Claim) -> None:
        """Record that the attempt stopped as it was asked to: RUNNING becomes CANCELLED. Raises StaleAttemptError."""
        with writing(self.engine) as connection:
            self._finish_within(connection, claim, "cancelled", RunStatus.CANCELLED, {}, None)

    def pause(self, claim: Claim, paused: dict[str, Any]) -> RunStatus:
        """Record that the attempt came to `pause_at`: RUNNING becomes PAUSED, or CANCELLED when that was asked for.

        `paused` tells where: step, total_steps, and the numbers of the evaluation there (`metrics`). The place is free
        then; folder and checkpoint stay. Returns the new state. Raises StaleAttemptError.
        """
        with writing(self.engine) as connection:
            run = self._held_run(connection, claim)
            if run.cancel_requested:
                self._finish_within(connection, claim, "cancelled", RunStatus.CANCELLED, {}, paused)
                return RunStatus.CANCELLED
            now = self.now(connection)
            values = {"paused_at": now, "finished_at": now, "paused": paused}  # one moment: see `queries`
            self._finish_within(connection, claim, "paused", RunStatus.PAUSED.stored, values, paused)
            return RunStatus.PAUSED

    def release(self, claim: Claim, reason: str) -> RunStatus:
        """Hand the run back without a fault: RUNNING becomes QUEUED, or CANCELLED when that was asked for.

        Returns the new state. Raises StaleAttemptError.
        """
        with writing(self.engine) as connection:
            run = self._held_run(connection, claim)
            now = self.now(connection)
            if run.cancel_requested:
                self._finish_within(connection, claim, "cancelled", RunStatus.CANCELLED, {}, {"reason": reason})
                return RunStatus.CANCELLED
            values = {"published_at": None, **queued_lease(run.kind, claim.owner, now)}
            self._change_held(connection, claim, "released", RunStatus.QUEUED, values, {"reason": reason})
            return RunStatus.QUEUED

    def now(self, connection: Connection) -> datetime:
        """Return the moment by which leases are judged."""
        if self._clock is utc_now and connection.dialect.name == "postgresql":
            moment: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
            return moment
        return self._clock()

    # --- private

    def _held_run(self, connection: Connection, claim: Claim) -> Run:
        row = connection.execute(select(runs).where(*_held_by(claim)).with_for_update()).one_or_none()
        if row is None:
            raise _stale(claim)
        return queries.run_of(row)

    def _finish_within(
        self,
        connection: Connection,
        claim: Claim,
        kind: str,
        state: RunStatus,
        values: dict[str, Any],
        detail: dict[str, Any] | None,
    ) -> None:
        values = {"finished_at": self.now(connection), **values, "lease_owner": None, "lease_until": None}
        self._change_held(connection, claim, kind, state, values, detail)

    def _change_held(
        self,
        connection: Connection,
        claim: Claim,
        kind: str,
        state: RunStatus,
        values: dict[str, Any],
        detail: dict[str, Any] | None,
    ) -> None:
        changed = connection.execute(update(runs).where(*_held_by(claim)).values(**{**values, "status": state}))
        if changed.rowcount == 0:
            raise _stale(claim)
        now = self.now(connection)
        record_event(connection, claim.run_id, now, kind, claim.attempt, RunStatus.RUNNING, state, claim.owner, detail)


def queued_lease(kind: RunKind, owner: str | None, now: datetime) -> dict[str, Any]:
    """A local run waits for one process only, so it is lost with it; a queued one waits for any worker."""
    if kind == "queued":
        return {"lease_owner": None, "lease_until": None}
    return {"lease_owner": owner or own_identity(), "lease_until": now + timedelta(seconds=LOCAL_START_SECONDS)}


def _held_by(claim: Claim) -> tuple[Any, ...]:
    return (
        runs.c.id == claim.run_id,
        runs.c.attempt == claim.attempt,
        runs.c.status == RunStatus.RUNNING,
        runs.c.lease_owner == claim.owner,
    )


def _stale(claim: Claim) -> StaleAttemptError:
    return StaleAttemptError(
        f"attempt {claim.attempt} of run {claim.run_id} does not hold the run any more",
        f"see how it stands: ft30 runs show {claim.run_id[:8]}",
    )
