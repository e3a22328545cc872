"""Searches for suspect labels on behalf of the API: one process a search, its finding kept in the run's folder.

A search asks the model about every training row, which takes seconds to many minutes, so it is begun by one question
and looked at by others. What it found depends on the run and its data version only; it is kept for good.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.errors import Finetune30Error, ServiceUnavailableError, StorageError
from finetune30.files import save_bytes_atomic
from finetune30.service.model_processes import ModelProcess, read_answer, require_model
from finetune30.service.records import Records
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

    def start(self, records: Records, run: Run) -> None:
        """Begin a search unless one runs or its finding is there. Raises ConflictError where the run has no model."""
        require_model(run)
        with self._lock:
            searching = run.id in self._states and self._states[run.id] is None
            if searching or self._closed or _path(records, run).is_file():
                return
            self._states[run.id] = None
        threading.Thread(target=self._search, args=(run.id,), name=f"suspects {run.id[:8]}", daemon=True).start()

    def load(self, records: Records, run: Run, offset: int, limit: int, *, everything: bool) -> dict[str, Any]:
        """Return the state (none, searching, failed, ready) and, once ready, a page of the rows in order of doubt."""
        with self._lock:
            known, error = run.id in self._states, self._states.get(run.id)
        path = _path(records, run)
        if path.is_file():
            return {"state": "ready", "run_id": run.id, **_load_page(path, offset, limit, everything)}
        state = "none" if not known else "searching" if error is None else "failed"
        return {"state": state, "run_id": run.id, "error": None if error is None else error.as_dict()}

    def close(self) -> None:
        """End the search that runs; those that wait never begin."""
        with self._lock:
            self._closed = True
            running = self._running
        if running is not None:
            running.stop()

    def _search(self, run_id: str) -> None:
        with self._turn:
            with self._lock:
                if self._closed:
                    return
                self._running = process = self._process(run_id)
            error: Finetune30Error | None = None
            try:
                read_answer(process.ask({"suspects": True}, SEARCH_SECONDS))
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


def save_suspects(rows: pl.DataFrame, version: str, method: str, folder: Path) -> None:
    """Keep a finding in the run's folder: the rows in order of doubt, the digest of their version, and the method."""
    facts = {"version": version, "method": method}
    content = io.BytesIO()
    rows.write_parquet(content, metadata={_FACTS: json.dumps(facts)})
    save_bytes_atomic(folder / FILE, content.getvalue())


def _load_page(path: Path, offset: int, limit: int, everything: bool) -> dict[str, Any]:
    import polars as pl

    try:
        facts = json.loads(pl.read_parquet_metadata(path)[_FACTS])
        rows = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError, KeyError, ValueError) as error:
        raise StorageError(f"{path.parent.name}/{path.name} cannot be read", "remove it and search again") from error
    suspects = rows.filter(pl.col("is_suspect"))
    chosen = rows if everything else suspects
    return {
        **facts,
        "rows": rows.height,
        "suspects": suspects.height,
        "ranking": chosen.slice(offset, limit).to_dicts(),
    }


def _path(records: Records, run: Run) -> Path:
    return records.folder(run).path / FILE
