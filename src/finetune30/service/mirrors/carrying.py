"""Carrying one run to one tracker: what it does not know yet, piece by piece, noting each after it was sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune30 import failpoints
from finetune30.errors import DataError, ServiceUnavailableError, StorageError, first_line
from finetune30.files import load_json_lines
from finetune30.service.mirrors.facts import MEASURED, describe_run, final_point, find_record_fault, read_points
from finetune30.service.mirrors.protocol import Remote, RunFacts, Tracker
from finetune30.service.runs.open_records import Records
from finetune30.store import Run, RunFolder
from finetune30.store.mirrors import START, Cursor, Failure, claim_cursor, move_cursor, release_cursor, state_of
from finetune30.store.process_identity import own_identity

#: Steps and evaluations that are sent at a time.
PIECE_RECORDS = 200
#: A cursor is held for so many time limits of a request: more than the requests between two notes can take.
_HELD_REQUESTS = 30
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 10.0, 3_600.0
#: Parts of the names of what a clock decides; everything else comes out the same when a step is repeated, bit for bit.
_TIMED = ("time", "per_second")


@dataclass(frozen=True)
class Carried:
    """What came of carrying a run: whether another process is at it, how many records the tracker has by now, and
    whether the tracker was asked anything."""

    elsewhere: bool
    records: int
    was_asked: bool = False


def carry_run(
    records: Records, run_id: str, tracker: Tracker, *, timeout_seconds: float, again: bool = False
) -> Carried:
    """Tell a tracker what it does not know of a run yet; with `again` what lies there is removed before.

    `timeout_seconds` is the tracker's time limit for a request. Raises ServiceUnavailableError when it is out of
    reach, TrackerError when it refuses (which is noted, so that the run is not tried again at once), DataError for a
    damaged history, StorageError, NotFoundError.
    """
    hold_seconds = _HELD_REQUESTS * timeout_seconds
    store = records.store
    cursor = claim_cursor(store, run_id, tracker.name, tracker.target, owner=own_identity(), hold_seconds=hold_seconds)
    if cursor is None:
        return Carried(elsewhere=True, records=0)
    carrying = _Carrying(records, tracker, hold_seconds, cursor)
    try:
        is_done = carrying.carry(again=again)
    except Exception as error:
        refused = None if isinstance(error, ServiceUnavailableError) else first_line(error)
        wait = min(_FIRST_WAIT_SECONDS * 2**carrying.cursor.failures, _LONGEST_WAIT_SECONDS)
        release_cursor(store, carrying.cursor, Failure(refused, wait))
        raise
    release_cursor(store, carrying.cursor)
    return Carried(not is_done, carrying.cursor.records, carrying.was_asked)


class _Carrying:
    def __init__(self, records: Records, tracker: Tracker, hold_seconds: float, cursor: Cursor) -> None:
        self._records, self._tracker, self._hold_seconds = records, tracker, hold_seconds
        self.cursor = cursor
        self.was_asked = False

    def carry(self, *, again: bool) -> bool:
        """Return whether it was done; False while another process begins what the run is kept under."""
        if again:
            self._begin_again()
        run = self._records.store.get(self.cursor.run_id)  # before its files: once it has ended, they are complete
        folder = self._records.folder(run)
        attempt, history = _load_history(run, folder)
        if not self._align(run, folder, attempt, history):
            self._begin_again()
        if self.cursor.remote is None:
            if not history and not run.status.is_final:
                return True  # what its configuration names may still be replaced by what stands in
            if not self._open(describe_run(self._records, self._records.store.get(run.id))):
                return False
        self._send(run, attempt, history)
        if self.cursor.told != state_of(run):
            self._tell(run)
        return True

    def _open(self, facts: RunFacts) -> bool:
        """Begin the run there; that of its search or set is begun by one process at a time."""
        held = self._claim(facts.group.id) if facts.group is not None else None
        if facts.group is not None and held is None:
            return False
        try:
            remote = self._tracker.open(facts, self.cursor.generation)
            self.was_asked = True
            failpoints.reach("mirror.after_open")
            self._note(remote=remote)
        finally:
            if held is not None:
                release_cursor(self._records.store, held)
        return True

    def _claim(self, run_id: str) -> Cursor | None:
        return claim_cursor(
            self._records.store,
            run_id,
            self._tracker.name,
            self._tracker.target,
            owner=own_identity(),
            hold_seconds=self._hold_seconds,
        )

    def _send(self, run: Run, attempt: int, history: list[dict[str, Any]]) -> None:
        while self.cursor.records < len(history):
            until = self.cursor.records + PIECE_RECORDS
            points = read_points(history[self.cursor.records : until], run.started_at or run.created_at)
            remote = self._tracker.send(self._remote(), points)
            self.was_asked = True
            failpoints.reach("mirror.after_send")
            self._note(remote=remote, attempt=attempt, records=min(until, len(history)))

    def _tell(self, run: Run) -> None:
        remote = self._remote()
        final = final_point(run)
        if final is not None and not self._was_told_the_end():
            remote = self._tracker.send(remote, [final])
        remote = self._tracker.tell(remote, describe_run(self._records, run))
        self.was_asked = True
        failpoints.reach("mirror.after_tell")
        self._note(remote=remote, told=state_of(run))

    def _was_told_the_end(self) -> bool:
        """Tell whether the final numbers are there already: what came since is an edit by a person."""
        return self.cursor.told.startswith("SUCCEEDED ")

    def _align(self, run: Run, folder: RunFolder, attempt: int, history: list[dict[str, Any]]) -> bool:
        """Find the place in the history of a newer attempt; False where it repeats what was sent, but differently."""
        cursor = self.cursor
        if cursor.records == 0 or attempt == cursor.attempt:
            return len(history) >= cursor.records
        sent = _load_records(run, folder.attempts / str(cursor.attempt) / folder.history.name)[: cursor.records]
        common = min(len(sent), len(history))
        if len(sent) < cursor.records or list(map(_repeated, sent[:common])) != list(map(_repeated, history[:common])):
            return False
        if len(history) >= cursor.records:
            self._note(attempt=attempt)
        else:
            history.clear()  # it has not got so far yet, and maybe never does
        return True

    def _begin_again(self) -> None:
        if self.cursor.remote is not None:
            self._tracker.discard(self.cursor.remote)
        failpoints.reach("mirror.after_discard")
        self._note(**{**START, "generation": self.cursor.generation + 1})

    def _remote(self) -> Remote:
        assert self.cursor.remote is not None  # noqa: S101 - opened before anything is sent
        return self.cursor.remote

    def _note(self, **values: Any) -> None:
        self.cursor = move_cursor(self._records.store, self.cursor, hold_seconds=self._hold_seconds, **values)


def _repeated(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if not any(part in key for part in _TIMED)}


def _load_history(run: Run, folder: RunFolder) -> tuple[int, list[dict[str, Any]]]:
    """Return the newest attempt that has a history, and its records; 0 for a run that has no attempts any more."""
    for number in reversed(folder.attempt_numbers()):
        path = folder.attempts / str(number) / folder.history.name
        if path.is_file():
            return number, _load_records(run, path)
    return 0, _load_records(run, folder.history)


def _load_records(run: Run, path: Path) -> list[dict[str, Any]]:
    """Return the measured records of a history. Raises DataError, which names the run, for a damaged one."""
    damage = f"the history of run {run.id[:8]} ({run.name}) is damaged"
    remedy = "restore its file from a backup, or take the run off: ft30 mirror RUN --stop"
    try:
        records: list[Any] = load_json_lines(path)
    except StorageError as error:
        raise DataError(f"{damage}: {error.message}", remedy) from error
    except OSError as error:
        raise DataError(f"{damage}: {path} cannot be read: {error.strerror or error}", remedy) from error
    for number, record in enumerate(records, 1):
        if fault := find_record_fault(record):
            raise DataError(f"{damage}: {path}, record {number}: {fault}", remedy)
    return [record for record in records if record.get("type") in MEASURED]
