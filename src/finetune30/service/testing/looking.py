"""Looks at test rows on behalf of the API: one process a look, so that whoever asks stays free of torch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from finetune30.config.loading import validate_tree
from finetune30.errors import Finetune30Error, ServiceUnavailableError
from finetune30.service.datasets.operations import versions_of
from finetune30.service.models.model_process import ModelProcess, read_answer
from finetune30.service.runs.details import require_model
from finetune30.service.runs.open_records import Records
from finetune30.service.testing.admission import LookTakenError, require_same_test_rows
from finetune30.service.testing.sources import find_test_source
from finetune30.settings import Settings
from finetune30.store import Run
from finetune30.store.test_looks import load_looks

LOOK_SECONDS = 4 * 3600.0


class LooksInWork:
    """One look of a run at a time, over however many processes of the API; safe to use from several threads."""

    def __init__(self, process: Callable[[str], ModelProcess] = ModelProcess) -> None:
        self._process = process
        self._lock = threading.Lock()
        self._running: dict[str, ModelProcess] = {}
        self._errors: dict[str, Finetune30Error] = {}
        self._closed = False

    def start(self, records: Records, settings: Settings, run: Run, by: str, other: Run | None = None) -> None:
        """Begin a look unless one of the run is under way; with `other` one at each, and the verdict on both.

        Which looks were asked for is settled here: of all that ask at the same moment, in whichever process, one has
        them. Raises ConflictError (no model, no test rows, other rows), LookTakenError where `other` is looked at,
        UsageError where it is the run itself.
        """
        require_model(run, "GET /experiments?status=SUCCEEDED")
        manifest = versions_of(settings, records.store).get(str(run.dataset_digest))
        find_test_source(validate_tree(run.config, source=f"the record of run {run.id[:8]}"), manifest)
        runs = [run] if other is None else [run, other]
        earlier = load_looks(records.store, [one.id for one in runs])
        if any(look.goes_on for look in earlier[run.id]):
            return
        if other is not None:
            require_same_test_rows(records, settings, runs)
        with self._lock:
            if run.id in self._running or self._closed:
                return
            if other is not None and other.id in self._running:
                raise LookTakenError.of(other)
            process = self._process(run.id)
            for one in runs:
                self._errors.pop(one.id, None)
                self._running[one.id] = process
        asked: dict[str, Any] = {"by": by, "counts": [len(earlier[one.id]) + 1 for one in runs]}
        asked["other"] = None if other is None else other.id
        threading.Thread(
            target=self._look,
            args=([one.id for one in runs], process, asked),
            name=f"test look {run.id[:8]}",
            daemon=True,
        ).start()

    def load(self, records: Records, run: Run) -> dict[str, Any]:
        """Return `state` (none, looking, failed, ready) and every look so far, the first one first."""
        looks = load_looks(records.store, [run.id])[run.id]
        with self._lock:
            is_begun, error = run.id in self._running, self._errors.get(run.id)
        looking = is_begun or any(look.goes_on for look in looks)
        state = "looking" if looking else "failed" if error else "ready" if looks else "none"
        return {
            "state": state,
            "run_id": run.id,
            "looks": [look.as_dict() for look in looks],
            "error": None if error is None else error.as_dict(),
        }

    def close(self) -> None:
        """End the looks under way; they count."""
        with self._lock:
            self._closed = True
            running = set(self._running.values())  # that of a pair stands there twice
        for process in running:
            process.stop()

    def _look(self, run_ids: Sequence[str], process: ModelProcess, asked: dict[str, Any]) -> None:
        error: Finetune30Error | None = None
        try:
            read_answer(process.ask({"test": asked}, LOOK_SECONDS))
        except Finetune30Error as found:
            error = found
        except ValueError:  # its pipes were closed under it
            error = ServiceUnavailableError("the look was ended; it counts", "look again")
        with self._lock:
            for run_id in run_ids:
                self._running.pop(run_id, None)
                if error is not None:
                    self._errors[run_id] = error
        process.stop()
