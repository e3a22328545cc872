"""Folders know whose they are: a mark in the results and data folder, and the same id in the database.

A run's row is in the database, its result in a folder. A host that has the one and a folder of its own in the place of
the other would call runs SUCCEEDED whose result nobody else can read, and begin lost ones anew at step 0.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from finetune30.errors import StorageError
from finetune30.files import create_file, disk_errors
from finetune30.store.database import reading, writing
from finetune30.store.process_identity import describe_owner, host_prefix
from finetune30.store.records import Run
from finetune30.store.results_folder import RUN_FOLDER
from finetune30.store.run_folder import RunFolder
from finetune30.store.run_store import RunStore
from finetune30.store.tables import folders, runs
from finetune30.values import say_count

MARK = ".finetune30-folder"
Kind = Literal["results", "data"]


@dataclass(frozen=True)
class OwnFolder:
    """A folder that belongs to the database: `id` stands in both; `host` and `path` are those of its first use."""

    kind: Kind
    folder: Path
    id: str
    host: str
    path: str

    def require(self) -> None:
        """Raise StorageError when the folder is another one by now, such as an empty place where a disk was mounted."""
        found = _load_mark(self.folder)
        if found == self.id:
            return
        what = "has no mark" if found is None else "has the mark of another one"
        content = json.dumps({"id": self.id})
        raise StorageError(
            f"the {self.kind} folder {self.folder} is not the one of this database, which lies on host {self.host} at "
            f"{self.path}: it {what}",
            f"share that folder with this host and name it in FT30_{self.kind.upper()}_FOLDER; where this is that "
            f"folder, put back or emptied, write {content} into {self.folder / MARK}",
        )


def own_folders(store: RunStore, results: Path, data: Path) -> tuple[tuple[OwnFolder, ...], tuple[str, ...]]:
    """Return both folders of a database and what to say about them; the first process that asks marks them.

    Raises StorageError for a folder that is not the one of the database.
    """
    notes = [*_find_runs_of_another_database(store, results)]
    return (_own_folder(store, "results", results), _own_folder(store, "data", data)), tuple(notes)


def require_run_folder(store: RunStore, results: Path, run: Run) -> RunFolder:
    """Return the folder of a run. Raises StorageError where it is not there, which says where it was carried out."""
    folder = RunFolder(results / run.folder)
    if folder.path.is_dir():
        return folder
    owners = [event.owner for event in store.events(run.id) if event.kind == "claimed" and event.owner]
    raise StorageError(
        f"run {run.id[:8]} is recorded, but its folder {run.folder} is not in {results}"
        + (f"; its last attempt was {describe_owner(owners[-1])}" if owners else ""),
        "look at the run on the host that has its folder, or share that results folder with this host and name it "
        "in FT30_RESULTS_FOLDER",
    )


def _own_folder(store: RunStore, kind: Kind, folder: Path) -> OwnFolder:
    known = _load_known(store, kind, folder)
    if known is None:
        mark = _load_mark(folder) or _make_mark(folder)
        row = {"kind": kind, "id": mark, "host": _this_host(), "path": str(folder.resolve())}
        try:
            with writing(store.engine) as connection:
                connection.execute(insert(folders).values(**row))
        except IntegrityError:
            pass  # another process was faster: its folder counts
        known = _load_known(store, kind, folder)
        assert known is not None  # noqa: S101 - rows of this table are never removed
    elif kind == "data" and _is_in_its_place(store, known) and _load_mark(folder) is None:
        _make_mark(folder, known.id)  # versions can be made again, and people remove them
    known.require()
    return known


def _is_in_its_place(store: RunStore, known: OwnFolder) -> bool:
    """Tell whether a folder stands where it was used first; another host may have one of its own at the same path.

    No other host has a database that is a file, and a container that is made anew is the same place by another name.
    """
    is_here = known.host == _this_host() or store.engine.dialect.name == "sqlite"
    return is_here and known.path == str(known.folder.resolve())


def _this_host() -> str:
    return host_prefix().partition(":")[0]


def _load_known(store: RunStore, kind: Kind, folder: Path) -> OwnFolder | None:
    with reading(store.engine) as connection:
        row = connection.execute(select(folders).where(folders.c.kind == kind)).one_or_none()
    return None if row is None else OwnFolder(kind, folder, row.id, row.host, row.path)


def _make_mark(folder: Path, known: str | None = None) -> str:
    """Mark a folder unless another process does; return the id that stands in it."""
    with disk_errors(f"cannot mark the folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        create_file(folder / MARK, json.dumps({"id": known or uuid.uuid4().hex}) + "\n")
    mark = _load_mark(folder)
    if mark is None:
        raise StorageError(f"the mark of {folder} was removed while it was made", "try again")
    return mark


def _load_mark(folder: Path) -> str | None:
    """Return the id in the mark of a folder, None where there is none. Raises StorageError for one that is broken."""
    path = folder / MARK
    with disk_errors(f"cannot read {path}"):
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
    try:
        return str(json.loads(text)["id"])
    except (ValueError, KeyError, TypeError):
        raise StorageError(f"{path} holds no id", "put the file back as it was") from None


def _find_runs_of_another_database(store: RunStore, results: Path) -> list[str]:
    """Say that the database is empty where the folder holds runs."""
    with reading(store.engine) as connection:
        if connection.execute(select(runs.c.id).limit(1)).first() is not None:
            return []
    with disk_errors(f"cannot look through {results}"):
        entries = results.iterdir() if results.is_dir() else ()
        count = sum(RUN_FOLDER.fullmatch(entry.name) is not None for entry in entries)
    if not count:
        return []
    return [
        f"the database is empty, but {results} holds the folders of {say_count(count, 'runs')}: they are recorded "
        f"in another "
        "database; name it in FT30_DATABASE_URL, or put its file back"
    ]
