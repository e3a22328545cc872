"""Searches for suspect labels on behalf of the API: one process a search, its finding kept in the run's folder.

A search asks the model about every training row, which takes seconds to many minutes, so it is begun by one question
and looked at by others. What it found depends on the run, its data version and who judges (`folds`); the newest
finding is kept for good.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.errors import Finetune30Error, ServiceUnavailableError, StorageError
from finetune30.files import save_bytes_atomic
from finetune30.service.models.model_process import ModelProcess, read_answer
from finetune30.service.runs.details import require_model
from finetune30.service.runs.open_records import Records
from finetune30.store import Run

if TYPE_CHECKING:
    import polars as pl

FILE = "suspects.parquet"
SEARCH_SECONDS = 4 * 3600.0
_FACTS = "finetune30"


class SuspectSearches:
    """One search at a time, the others wait their turn; safe to use from several threads."""

    def __init__(self, process: Callable[[str], ModelProcess] = ModelProcess) -> None:
        self._process = process
        self._turn, self._lock = threading.Lock(), threading.Lock()
        self._states: dict[str, Finetune30Error | None] = {}  # None: searching
        self._running: ModelProcess | None = None
        self._closed = False

    def start(self, records: Records, run: Run, folds: int | None = None) -> None:
        """Begin a search unless one runs or its finding is there. Raises ConflictError where the run has no model.

        A finding of other judges (see `find_suspects`) is replaced once the new one is there.
        """
        require_model(run, "GET /experiments?status=SUCCEEDED")
        path = _path(records, run)
        with self._lock:
            if self._is_searching(run.id) or self._closed:
                return
            if path.is_file() and _load_facts(path)["folds"] == folds:
                self._states.pop(run.id, None)  # it is shown again after a search by others that failed
                return
            self._states[run.id] = None
        name = f"suspects {run.id[:8]}"
        threading.Thread(target=self._search, args=(run.id, folds), name=name, daemon=True).start()

    def load(self, records: Records, run: Run, offset: int, limit: int, *, everything: bool) -> dict[str, Any]:
        """Return the state (none, searching, failed, ready) and, once ready, a page of the rows in order of doubt."""
        with self._lock:
            searching, error = self._is_searching(run.id), self._states.get(run.id)
        path = _path(records, run)
        if path.is_file() and not searching and error is None:
            return {"state": "ready", "run_id": run.id, **_load_page(path, offset, limit, everything)}
        state = "searching" if searching else "failed" if error else "none"
        return {"state": state, "run_id": run.id, "error": None if error is None else error.as_dict()}

    def close(self) -> None:
        """End the search that runs; those that wait never begin."""
        with self._lock:
            self._closed = True
            running = self._running
        if running is not None:
            running.stop()

    def _is_searching(self, run_id: str) -> bool:
        return run_id in self._states and self._states[run_id] is None

    def _search(self, run_id: str, folds: int | None) -> None:
        with self._turn:
            with self._lock:
                if self._closed:
                    return
                self._running = process = self._process(run_id)
            error: Finetune30Error | None = None
            try:
                read_answer(process.ask({"suspects": {"folds": folds}}, SEARCH_SECONDS))
            except Finetune30Error as found:
                error = found
            except ValueError:  # its pipes were closed under it
                error = ServiceUnavailableError("the search was ended", "begin it again")
            with self._lock:
                self._running = None
                if error is None:
                    self._states.pop(run_id, None)
                else:
                    self._states[run_id] = error
            process.stop()


def save_suspects(rows: pl.DataFrame, facts: dict[str, Any], folder: Path) -> None:
    """Keep a finding in the run's folder: the rows in order of doubt, and version, method and folds of it."""
    content = io.BytesIO()
    rows.write_parquet(content, metadata={_FACTS: json.dumps(facts)})
    save_bytes_atomic(folder / FILE, content.getvalue())


def _load_facts(path: Path) -> dict[str, Any]:
    import polars as pl

    with _reading(path):
        facts: dict[str, Any] = json.loads(pl.read_parquet_metadata(path)[_FACTS])
    return {"folds": None, **facts}


def _load_page(path: Path, offset: int, limit: int, everything: bool) -> dict[str, Any]:
    import polars as pl

    facts = _load_facts(path)
    with _reading(path):
        rows = pl.read_parquet(path)
    suspects = rows.filter(pl.col("is_suspect"))
    chosen = rows if everything else suspects
    return {
        **facts,
        "rows": rows.height,
        "suspects": suspects.height,
        "ranking": chosen.slice(offset, limit).to_dicts(),
    }


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    import polars as pl

    try:
        yield
    except (OSError, pl.exceptions.PolarsError, KeyError, ValueError) as error:
        raise StorageError(f"{path.parent.name}/{path.name} cannot be read", "remove it and search again") from error


def _path(records: Records, run: Run) -> Path:
    return records.require_folder(run).path / FILE
