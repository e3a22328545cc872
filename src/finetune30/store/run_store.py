"""The run store: one place that creates runs, moves them from state to state and answers questions about them.

Every change is one guarded UPDATE on the expected state and attempt, with its event in the same transaction. An UPDATE
that changes no row means that somebody else was there first; nothing is written then.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, bindparam, false, insert, select, update
from sqlalchemy.exc import IntegrityError

from finetune30.config.schema import ExperimentConfig
from finetune30.errors import ConflictError, IdempotencyError
from finetune30.files import save_json_atomic
from finetune30.store import fair_queue, pages, queries, reconciliation
from finetune30.store.attempt_states import queued_lease
from finetune30.store.database import build_engine, reading, writing
from finetune30.store.events import record_event
from finetune30.store.joined_writes import write_jointly
from finetune30.store.kept_rows import KeptRows
from finetune30.store.kept_stats import KeptStats
from finetune30.store.lease_doubts import LeaseDoubts
from finetune30.store.model_queries import require_no_version
from finetune30.store.new_runs import insert_run, values_of
from finetune30.store.pauses import Pauses
from finetune30.store.places import Places
from finetune30.store.published_files import ORIGIN
from finetune30.store.records import (
    Change,
    Run,
    RunEvent,
    RunFilter,
    RunKind,
    RunPage,
    RunStats,
    RunStatus,
    utc_now,
)
from finetune30.store.results_folder import (
    release_run_folder,
    remove_run_folder,
    remove_unused_folders,
    reserve_run_folder,
)
from finetune30.store.schema import migrate
from finetune30.store.search_members import require_no_member
from finetune30.store.tables import runs, tombstones

T = TypeVar("T")
_MARK = update(runs).where(runs.c.id.in_(bindparam("ids", expanding=True))).values(published_at=bindparam("moment"))
#: Two heartbeats of an attempt: who did not renew a lease in this time does not renew it.
PATIENCE_SECONDS = 20.0
#: Age from which an empty folder without a run is one that nobody will record any more.
UNUSED_FOLDER_SECONDS = 600.0


def open_store(database_url: str, clock: Callable[[], datetime] = utc_now) -> RunStore:
    """Open the database, bring its schema to the newest revision and return the store.

    `clock` gives aware UTC datetimes; with the default one PostgreSQL's own clock decides, so hosts need not agree.
    Raises UsageError for an URL of another kind, StorageError when the database is out of reach.
    """
    engine = build_engine(database_url)
    try:
        migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return RunStore(engine, clock)


class RunStore(Pauses):
    """Runs and their states on one database; safe to share between threads, not across a fork."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(engine, clock)
        self._places = Places()
        self._stats = KeptStats(engine, self.now)
        self._doubts = LeaseDoubts()
        self._scoreless: set[str] = set()  # finished runs whose metrics were read and tell no score

    # --- creating

    def create(
        self,
        config: ExperimentConfig,
        *,
        kind: RunKind,
        results_root: Path,
        priority: int = 0,
        idempotency_key: str | None = None,
        request_sha256: str | None = None,
        submitted_by: str | None = None,
        owner: str | None = None,
        explicit: frozenset[str] | None = None,
        origin: Mapping[str, str] | None = None,
        pause_at: float | None = None,
    ) -> Run:
        """Reserve a folder under `results_root` and record the run as QUEUED; returning means that it is durable.

        A run submitted before under the same `idempotency_key` and `request_sha256` is returned instead. A local run
        belongs to the process `owner` (default: this one) from here on. `explicit` names the dotted keys that were
        given; `origin` is `replay_of` or `warm_start_of` with the id of that run. At the first evaluation from the
        share `pause_at` of its steps on (0-1) it pauses. Raises IdempotencyError when the key was used for another
        request, StorageError when folder or row cannot be written.
        """
        if known := self._find_submitted(idempotency_key, request_sha256, submitted_by):
            return known
        with reading(self.engine) as connection:
            now = self.now(connection)
            folder = reserve_run_folder(
                results_root,
                config.experiment_name,
                now,
                is_taken=lambda name: queries.is_folder_taken(connection, name),
            )
        values = {
            **values_of(config),
            "id": uuid.uuid4().hex,
            "status": RunStatus.QUEUED,
            "kind": kind,
            "attempt": 0,
            "failures": 0,
            "cancel_requested": False,
            "priority": priority,
            "folder": folder.name,
            "created_at": now,
            "queued_at": now,
            "submitted_by": submitted_by or "",
            "idempotency_key": idempotency_key,
            "request_sha256": request_sha256,
            "explicit_keys": None if explicit is None else sorted(explicit),
            "pause_at": pause_at,
            **queued_lease(kind, owner, now),
        }
        try:
            if origin is not None:
                save_json_atomic(folder / ORIGIN, dict(origin))
            row = write_jointly(
                self.engine, lambda connection: insert_run(connection, values, now), may_meet_others=True
            )
        except BaseException as error:
            release_run_folder(folder)
            if isinstance(error, IntegrityError) and (
                known := self._find_submitted(idempotency_key, request_sha256, submitted_by)
            ):
                return known
            raise
        return queries.run_of(row)

    def require_writable(self) -> None:
        """Raise StorageError when the database does not take a change now."""
        with writing(self.engine) as connection:
            connection.execute(update(runs).where(false()).values(attempt=runs.c.attempt))

    # --- asked for by people

    def request_cancel(self, run_id: str) -> Run:
        """Cancel a QUEUED or PAUSED run at once, ask a RUNNING one to stop; a CANCELLED one stays as it is.

        Raises NotFoundError, ConflictError when the run already ended otherwise.
        """
        with writing(self.engine) as connection:
            run = queries.load_run(connection, run_id, lock=True)
            now = self.now(connection)
            if run.status is RunStatus.QUEUED:
                values = {"status": RunStatus.CANCELLED, "finished_at": now, "lease_owner": None, "lease_until": None}
                self._change_from(connection, run, values | {"cancel_requested": True})
                record_event(connection, run.id, now, "cancelled", run.attempt, run.status, RunStatus.CANCELLED)
            elif run.status is RunStatus.PAUSED:
                self.end_pause(connection, run, {"cancel_requested": True}, "it was cancelled")
            elif run.status is RunStatus.RUNNING and not run.cancel_requested:
                self._change_from(connection, run, {"cancel_requested": True})
                record_event(connection, run.id, now, "cancel_requested", run.attempt, run.status, run.status)
            elif run.status in (RunStatus.SUCCEEDED, RunStatus.FAILED):
                raise ConflictError(
                    f"run {run.id} is {run.status}: only QUEUED, RUNNING and PAUSED runs can be cancelled",
                    f"see it with: ft30 runs show {run.id[:8]}",
                )
        return self.get(run.id)

    def retry(self, run_id: str, *, kind: RunKind | None = None, owner: str | None = None, pauses: bool = False) -> Run:
        """Queue a FAILED or CANCELLED run again, from its last checkpoint to its end, or with `pauses` to `pause_at`.

        `kind` may move it between local and queued execution. Raises NotFoundError, ConflictError for another state.
        """
        with writing(self.engine) as connection:
            run = queries.load_run(connection, run_id, lock=True)
            if run.status not in (RunStatus.FAILED, RunStatus.CANCELLED):
                raise ConflictError(
                    f"run {run.id} is {run.status}: only FAILED and CANCELLED runs can be tried again",
                    f"see it with: ft30 runs show {run.id[:8]}",
                )
            now = self.now(connection)
            values = {
                "status": RunStatus.QUEUED,
                "pause_at": run.pause_at if pauses else None,
                "kind": kind or run.kind,
                "places": (run.config.get("training") or {}).get("processes", 1),  # another launcher may have led it
                "failures": 0,
                "cancel_requested": False,
                "queued_at": now,
                "published_at": None,
                "finished_at": None,
                "error": None,
                **queued_lease(kind or run.kind, owner, now),
            }
            self._change_from(connection, run, values)
            record_event(connection, run.id, now, "retried", run.attempt, run.status, RunStatus.QUEUED)
        return self.get(run.id)

    def delete(self, run_id: str, results_root: Path) -> None:
        """Remove a run that is not RUNNING: first its row (a tombstone remains), then its folder, then the tombstone.

        Its events stay. Raises NotFoundError, StorageError, ConflictError while RUNNING, with a version of a model or
        as a trial of a search.
        """
        with writing(self.engine) as connection:
            run = queries.load_run(connection, run_id, lock=True)
            if run.status is RunStatus.RUNNING:
                raise ConflictError(
                    f"run {run.id} is RUNNING and cannot be deleted", f"stop it first: ft30 runs cancel {run.id[:8]}"
                )
            require_no_version(connection, run.id)
            require_no_member(connection, run)
            now = self.now(connection)
            gone = connection.execute(runs.delete().where(*_unchanged(run)))
            _require_changed(gone.rowcount, run.id)
            connection.execute(
                insert(tombstones).values(run_id=run.id, name=run.name, folder=run.folder, deleted_at=now)
            )
            state, named = run.status.stored, {"name": run.name}
            record_event(connection, run.id, now, "deleted", run.attempt, state, None, detail=named)
        self.purge_deleted(results_root)

    def purge_deleted(self, results_root: Path) -> list[str]:
        """Remove the folders of deleted runs and then their tombstones; return the run ids."""
        with reading(self.engine) as connection:
            buried = connection.execute(select(tombstones.c.run_id, tombstones.c.folder)).all()
        for tomb in buried:
            remove_run_folder(results_root, tomb.folder)
            with writing(self.engine) as connection:
                connection.execute(tombstones.delete().where(tombstones.c.run_id == tomb.run_id))
        return [tomb.run_id for tomb in buried]

    # --- looking after runs

    def remove_unused_folders(self, results_root: Path, older_than_seconds: float = UNUSED_FOLDER_SECONDS) -> list[str]:
        """Remove the empty folders under `results_root` that no run has; return their names."""
        with reading(self.engine) as connection:
            return remove_unused_folders(
                results_root, lambda name: queries.is_folder_taken(connection, name), older_than_seconds
            )

    def reconcile(self, patience_seconds: float = PATIENCE_SECONDS) -> list[Change]:
        """Find runs whose attempt is gone and move them on; safe to call at any time from any number of processes.

        A local run becomes FAILED with code process_lost. A queued one becomes QUEUED, FAILED after its third lost
        attempt, or CANCELLED when that was asked for. Finished runs that an attempt of the release before left without
        a score get it. Where processes have no clock in common (SQLite), the lease of a living process of this host has
        to be seen run out for `patience_seconds`, in two looks of this store at least.
        """
        with reading(self.engine) as connection:
            now = self.now(connection)
            suspects = reconciliation.find_lost_runs(connection, now)
            unscored = reconciliation.find_unscored_runs(connection, self._scoreless)
        if self.engine.dialect.name == "sqlite":
            suspects = self._doubts.settle(suspects, patience_seconds)
        for run_id, columns in unscored.items():
            with writing(self.engine) as connection:
                reconciliation.fill_score(connection, run_id, columns)
        changes = []
        for run, reason in suspects:
            with writing(self.engine) as connection:
                change = reconciliation.move_lost_run(connection, run, reason, self.now(connection))
            if change:
                changes.append(change)
        return changes

    def mark_published(self, run_ids: Sequence[str]) -> None:
        """Note that a queue message was sent for these runs just now; losing the note only costs another message."""

        def mark(connection: Connection) -> None:
            connection.execute(_MARK, {"ids": run_ids, "moment": self.now(connection)})

        write_jointly(self.engine, mark, durable=False, may_meet_others=True)

    # --- questions

    def get(self, reference: str) -> Run:
        """Return the run that is named so: see `queries.load_run`.

        Raises NotFoundError, ConflictError when a prefix fits several runs.
        """
        with reading(self.engine) as connection:
            return queries.load_run(connection, reference)

    def find(self, wanted: RunFilter) -> list[Run]:
        """Return one page of runs; see `find_page` for going on."""
        return self.find_page(wanted).runs

    def find_page(self, wanted: RunFilter) -> RunPage:
        """Return one page of runs and the cursor of the next. Raises UsageError for a cursor of another order."""
        with reading(self.engine) as connection:
            return pages.load_page(connection, wanted)

    def find_kept_page(self, wanted: RunFilter, kept: KeptRows[T]) -> tuple[list[T], str | None]:
        """Return what `kept` has of one page of runs, and the cursor of the next. Raises UsageError, as `find_page`."""
        with reading(self.engine) as connection:
            ids, next_cursor = pages.load_page_ids(connection, wanted)
            return kept.load(connection, ids), next_cursor

    def count(self, wanted: RunFilter) -> int:
        """Return how many runs the filter keeps, whatever its limit and cursor."""
        with reading(self.engine) as connection:
            return pages.count_runs(connection, wanted)

    def stats(self) -> RunStats:
        """Return totals over all runs as they are now; counted anew only when the events since do not tell them."""
        return self._stats.load()

    def events(self, run_id: str, after: int = 0, limit: int = 1000) -> list[RunEvent]:
        """Return the run's events with a number above `after`, oldest first; deleted runs keep theirs."""
        with reading(self.engine) as connection:
            return queries.load_events(connection, run_id, after, limit)

    def queue(
        self, limit: int = 100, *, most_running: int | None = None, most_places: int | None = None, after: int = 0
    ) -> list[Run]:
        """Return the runs that are taken next, in order (see `fair_queue`), without the first `after` of them.

        `most_running` is the number of runs that one submitter may have running at a time, `most_places` how many
        places whoever asks has in all; None: no limit.
        """
        query = fair_queue.select_next(limit, most_running, most_places, after)
        with reading(self.engine) as connection:
            return [queries.run_of(row) for row in connection.execute(query)]

    def unpublished(self, limit: int, since: datetime) -> list[Run]:
        """Return waiting runs whose last message was sent before that moment, or never."""
        with reading(self.engine) as connection:
            return queries.load_unpublished(connection, limit, since)

    def queue_places(self, most_running: int | None = None) -> Mapping[str, fair_queue.Place]:
        """Return id -> where it stands, of every waiting run."""
        with reading(self.engine) as connection:
            return self._places.load(connection, most_running)

    def queue_place(self, run_id: str, most_running: int | None = None) -> fair_queue.Place | None:
        """Return where a waiting run stands; None when it does not wait."""
        with reading(self.engine) as connection:
            return self._places.find(connection, run_id, most_running)

    def count_running(self, submitted_by: str) -> int:
        """Return how many queued runs of a submitter are running."""
        with reading(self.engine) as connection:
            return fair_queue.count_running(connection, submitted_by)

    def busy_places(self) -> Mapping[str, int]:
        """Return owner -> how many places its running queued runs take."""
        with reading(self.engine) as connection:
            return fair_queue.load_busy_places(connection)

    def queue_position(self, run_id: str, most_running: int | None = None) -> int | None:
        """Return the place in the queue, 1 is next; None when the run does not wait."""
        place = self.queue_place(run_id, most_running)
        return None if place is None else place.number

    # --- private

    def _find_submitted(self, key: str | None, request_sha256: str | None, submitted_by: str | None) -> Run | None:
        if key is None:
            return None
        with reading(self.engine) as connection:
            run = queries.load_submitted(connection, key, submitted_by or "")
        if run and run.request_sha256 != request_sha256:
            raise IdempotencyError(
                f"idempotency key {key!r} was used before for another request (run {run.id})",
                "send the same body again, or use a new key",
            )
        return run

    def _change_from(self, connection: Connection, run: Run, values: dict[str, Any]) -> None:
        changed = connection.execute(update(runs).where(*_unchanged(run)).values(**values))
        _require_changed(changed.rowcount, run.id)


def _unchanged(run: Run) -> tuple[Any, ...]:
    return runs.c.id == run.id, runs.c.status == run.status.stored, runs.c.attempt == run.attempt


def _require_changed(row_count: int, run_id: str) -> None:
    if row_count == 0:
        raise ConflictError(f"run {run_id} changed in this very moment", "look at it and try again")
