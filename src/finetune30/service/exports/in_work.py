"""Exports on behalf of the API: one at a time, in a process of its own, so that whoever asks stays free of torch.

What was asked for is on record (`asked`), what came of it lies below `exports` in the results folder, where
`ft30 export` puts it, too. The state is told from both: an API that is killed takes its work with it, and the export is
then INTERRUPTED and can be asked for again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from finetune30.errors import ConflictError, Finetune30Error, ServiceUnavailableError, StorageError, UsageError
from finetune30.files import disk_errors
from finetune30.service.exports.asked import Asked, note_end, note_stage, record_of, save_asked, take, tell_now
from finetune30.service.exports.choices import require_choice
from finetune30.service.exports.kinds import EXPORTS, ZIP, place_of, said_precision
from finetune30.service.exports.listing import describe_export
from finetune30.service.exports.staging import clear_abandoned, clear_away, is_being_filled, remove
from finetune30.service.models.model_process import ModelProcess, read_answer
from finetune30.service.runs.details import require_kept_model, require_model
from finetune30.service.runs.open_records import Records
from finetune30.store import Run

EXPORT_SECONDS = 4 * 3600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Work:
    """An export that waits or is made: whose it is, its record, its place, and the lock that it holds."""

    run_id: str
    asked: Asked
    record: Path
    target: Path
    overwrite: bool
    lock: int


class ExportsInWork:
    """One export at a time, the others wait without a process; safe to use from several threads."""

    def __init__(self, process: Callable[[str], ModelProcess] = ModelProcess) -> None:
        self._process = process
        self._lock = threading.Lock()
        self._waiting: dict[Path, _Work] = {}
        self._works_on: Path | None = None
        self._running: ModelProcess | None = None
        self._closed = False

    def start(self, records: Records, run: Run, asked: Asked, *, overwrite: bool) -> str:
        """Have an export made: at once, or after those before it; return what it is called.

        Raises ConflictError (the run has no model; the export is there, or is being made), ModelError (it is no form
        for this model), ServiceUnavailableError (what it needs is not installed), and StorageError.
        """
        adapter = require_adapter(records, run)
        name = require_choice(adapter, asked.form, asked.precision, asked.into)
        asked = replace(asked, precision=said_precision(asked.form, asked.precision), asked_at=tell_now())
        record, target = record_of(records, run, name), place_of(records, run, name)
        with self._lock:
            if self._closed:
                raise ServiceUnavailableError("the API is being stopped", "ask again when it is back")
            lock = take(record)
            if lock is None or is_being_filled(target):
                _let_go(lock)
                raise _in_work(run, name)
            try:
                if target.exists() and not overwrite:
                    raise ConflictError(
                        f"the export '{name}' of run {run.id[:8]} is there already",
                        'take it, or send "overwrite": true to make it anew',
                    )
                save_asked(record, asked)
            except Finetune30Error:
                _let_go(lock)
                raise
            self._waiting[record] = _Work(run.id, asked, record, target, overwrite, lock)
            self._begin()
        return name

    def close(self) -> None:
        """End the export that is made; those that wait never begin. All of them are then INTERRUPTED."""
        with self._lock:
            self._closed = True
            for work in self._waiting.values():
                _let_go(work.lock)
            self._waiting.clear()
            running = self._running
        if running is not None:
            running.stop()

    def _begin(self) -> None:
        """Begin the one that has waited longest, unless one is made; the lock is held."""
        if self._works_on is None and self._waiting and not self._closed:
            self._works_on = next(iter(self._waiting))
            work = self._waiting.pop(self._works_on)
            threading.Thread(target=self._make, args=(work,), name=f"export {work.run_id[:8]}", daemon=True).start()

    def _make(self, work: _Work) -> None:
        """Make one, in a thread of its own: the process that does it ends with the thread that begins it."""
        was_asked = False
        error: Finetune30Error | None = None
        try:
            error = self._ask(work)
            was_asked = True
            clear_away(work.target)
        except StorageError as fault:
            _log.warning("export of run %s: %s", work.run_id[:8], fault.message)
        finally:
            with self._lock:  # whoever is told how it ended may ask for it again
                if was_asked and not self._closed:
                    _note(work.record, error)
                _let_go(work.lock)
                self._works_on = self._running = None
                self._begin()

    def _ask(self, work: _Work) -> Finetune30Error | None:
        """Have a process make it; return what ended that, None where it is made."""
        note_stage(work.record, "loading the model")
        with self._lock:
            if self._closed:
                return None
            self._running = process = self._process(work.run_id)
        try:
            question = {"record": str(work.record), "overwrite": work.overwrite}
            read_answer(process.ask({"export": question}, EXPORT_SECONDS))
        except ServiceUnavailableError as error:
            return ServiceUnavailableError(
                error.message,
                f"ask for it again; if it stays so: ft30 export {work.run_id[:8]} --as {work.asked.form} shows why",
            )
        except Finetune30Error as error:
            return error
        except ValueError:  # its pipes were closed under it
            return ServiceUnavailableError("the export was ended", "ask for it again")
        finally:
            process.stop()
        return None


def require_adapter(records: Records, run: Run) -> Path:
    """Return the folder of a finished model, unchecked. Raises ConflictError, StorageError."""
    folder = records.require_folder(require_model(run, "GET /experiments?status=SUCCEEDED"))
    require_kept_model(run, folder)
    return folder.final_model


def remove_export(records: Records, run: Run, name: str) -> None:
    """Take an export and what is on record of it away; the run and its adapter stay.

    Raises NotFoundError, ConflictError (it is being made; the adapter itself is no export; a file is in it that no
    export wrote) and StorageError.
    """
    if name == ZIP:
        raise ConflictError("the adapter itself belongs to its run", "delete the run: DELETE /experiments/{id}")
    describe_export(records, run, name)
    record, target = record_of(records, run, name), place_of(records, run, name)
    lock = take(record)
    try:
        if lock is None:
            raise _in_work(run, name)
        try:
            remove(target)
        except UsageError as error:
            raise ConflictError(error.message, error.remedy) from error
        with disk_errors(f"cannot remove {record}"):
            record.unlink(missing_ok=True)
    finally:
        _let_go(lock)


def _in_work(run: Run, name: str) -> ConflictError:
    return ConflictError(
        f"the export '{name}' of run {run.id[:8]} is being made at this moment",
        "wait for it: GET /experiments/{id}/exports tells how far it is",
    )


def clear_killed(results_root: Path) -> None:
    """Clear away what killed exports left; for the API, as it starts."""
    try:
        clear_abandoned(results_root / EXPORTS)
    except StorageError as fault:
        _log.warning("what killed exports left stays: %s", fault.message)


def _note(record: Path, error: Finetune30Error | None) -> None:
    try:
        note_end(record, error)
    except StorageError as fault:  # it is told as interrupted
        _log.warning("how an export ended is not on record: %s", fault.message)


def _let_go(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)
