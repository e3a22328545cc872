"""Exports of a run as people see them: what is there, what is being made, what was refused and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finetune30.errors import NotFoundError, SelfTestError, ServiceUnavailableError
from finetune30.files import load_json, sha256_of
from finetune30.service.exports.asked import Asked, is_taken, load_asked, record_of
from finetune30.service.exports.kinds import KINDS, RECEIPT, name_export, place_of, said_precision
from finetune30.service.exports.staging import SUMS, is_being_filled, read_sums
from finetune30.service.models.zip_stream import Member, ZipStream
from finetune30.service.runs.open_records import Records
from finetune30.store import Run

_INTERRUPTED = ServiceUnavailableError(
    "the export was interrupted: the process that made it ended before it was there", "ask for it again"
)


@dataclass(frozen=True)
class WholeExport:
    """An export that is there: its name and folder, what its receipt says, when it was made."""

    name: str
    folder: Path
    receipt: dict[str, Any]

    @property
    def files(self) -> list[Path]:
        """Its files, in the order of their names."""
        return sorted(path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())

    def name_file(self, path: Path) -> str:
        """Return what a file of it is called within it."""
        return path.relative_to(self.folder).as_posix()

    def find_file(self, name: str) -> tuple[Path, str]:
        """Return a file and its sha256 as it was written. Raises NotFoundError for what is no file of it."""
        path = next((path for path in self.files if self.name_file(path) == name), None)
        if path is None:
            raise NotFoundError(f"the export '{self.name}' has no file '{name[:200]}'", "see its `files`")
        return path, read_sums(self.folder).get(name) or sha256_of(path)

    def list_files(self) -> list[dict[str, Any]]:
        """Return name, size and sha256 of every file; None of what was not written with it."""
        sums = read_sums(self.folder)
        names = [(self.name_file(path), path.stat().st_size) for path in self.files]
        return [{"name": name, "size": size, "sha256": sums.get(name)} for name, size in names]

    def pack(self) -> ZipStream:
        """Return the .zip of it, to which nothing was added yet; the same export gives the same bytes."""
        return ZipStream(self.folder.name, datetime.fromisoformat(self.receipt["made_at"]).astimezone(UTC))

    def members(self) -> list[Member]:
        """Return what goes into its .zip: every file, as it is."""
        return [Member(self.name_file(path), path) for path in self.files]


def list_exports(records: Records, run: Run) -> list[dict[str, Any]]:
    """Return every export of a run that is there or was asked for, in the order of the forms. Raises StorageError."""
    found = (_describe(records, run, name) for name in _names())
    return [described for described in found if described is not None]


def describe_export(records: Records, run: Run, name: str) -> dict[str, Any]:
    """Return one of them. Raises NotFoundError, StorageError."""
    described = _describe(records, run, name) if name in _names() else None
    if described is None:
        raise _missing(run, name)
    return described


def find_whole_export(records: Records, run: Run, name: str) -> WholeExport:
    """Return an export that is there. Raises NotFoundError, StorageError."""
    found = _load_whole(records, run, name) if name in _names() else None
    if found is None:
        raise _missing(run, name)
    return found


def _names() -> list[str]:
    """Return what exports may be called: a command may have said the usual precision, too."""
    both = ((name_export(form, said_precision(form, known)), name_export(form, known)) for form, known in KINDS)
    return list(dict.fromkeys(name for names in both for name in names))


def _missing(run: Run, name: str) -> NotFoundError:
    return NotFoundError(
        f"run {run.id[:8]} has no export '{name[:64]}'", "see those that it has: GET /experiments/{id}/exports"
    )


def _load_whole(records: Records, run: Run, name: str) -> WholeExport | None:
    folder = place_of(records, run, name)
    receipt = load_json(folder / RECEIPT) if (folder / SUMS).is_file() else None
    if receipt is None or receipt.get("run_id") != run.id:
        return None
    return WholeExport(name, folder, receipt)


def _describe(records: Records, run: Run, name: str) -> dict[str, Any] | None:
    """Return an export as answers have it; None for one that nobody asked for, or that was taken away since."""
    record, place = record_of(records, run, name), place_of(records, run, name)
    asked, whole = load_asked(record), _load_whole(records, run, name)
    is_held = asked is not None and asked.ended_at is None and is_taken(record)
    goes_on = is_held or is_being_filled(place)
    error = None if goes_on else _tell_error(asked, whole)
    if goes_on:
        state = "waiting" if is_held and asked is not None and asked.stage is None else "making"
    elif whole is not None:
        state = "ready"
    elif error is None:
        return None
    elif asked is not None and asked.ended_at is None:
        state = "interrupted"
    else:
        state = "refused" if error["error"] == SelfTestError.code else "failed"
    form, _, precision = name.partition("-")
    return {
        "name": name,
        "as": form,
        "precision": precision or next(known for known_form, known in KINDS if known_form == form),
        "state": state,
        "stage": asked.stage if asked is not None and is_held else None,
        "asked_by": None if asked is None else asked.by,
        "asked_at": None if asked is None else asked.asked_at,
        "ended_at": None if asked is None else asked.ended_at,
        "error": error,
        "receipt": None if whole is None else whole.receipt,
        "bytes": None if whole is None else sum(path.stat().st_size for path in whole.files),
    }


def _tell_error(asked: Asked | None, whole: WholeExport | None) -> dict[str, Any] | None:
    """Return what ended the last attempt, unless the export was made since."""
    if asked is None or (whole is not None and whole.receipt["made_at"] >= (asked.ended_at or asked.asked_at)):
        return None
    return _INTERRUPTED.as_dict() if asked.ended_at is None else asked.error
