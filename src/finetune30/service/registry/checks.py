"""Checks of versions on behalf of the API: one process a check, so that whoever registers stays free of torch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from finetune30.errors import Finetune30Error
from finetune30.service.models.model_process import ModelProcess, read_answer
from finetune30.store.model_records import ModelVersion, VersionState

CHECK_SECONDS = 3600.0

_log = logging.getLogger(__name__)


class ChecksInWork:
    """One check of a version at a time; safe to use from several threads. What it finds stands on record."""

    def __init__(self, process: Callable[[str], ModelProcess] = ModelProcess) -> None:
        self._process = process
        self._lock = threading.Lock()
        self._running: dict[str, ModelProcess] = {}
        self._closed = False

    def start(self, version: ModelVersion, by: str) -> None:
        """Begin the check of a version that is CHECKING, unless it is under way."""
        with self._lock:
            if version.state is not VersionState.CHECKING or version.name in self._running or self._closed:
                return
            self._running[version.name] = process = self._process(version.run_id)
        name = f"check {version.name}"
        threading.Thread(target=self._check, args=(version.name, process, by), name=name, daemon=True).start()

    def close(self) -> None:
        """End the checks under way; their versions stay CHECKING until somebody verifies them."""
        with self._lock:
            self._closed = True
            running = list(self._running.values())
        for process in running:
            process.stop()

    def _check(self, name: str, process: ModelProcess, by: str) -> None:
        try:
            read_answer(process.ask({"certify": {"version": name, "by": by}}, CHECK_SECONDS))
        except Finetune30Error as error:
            _log.warning("check of %s: %s", name, error.message)
        except ValueError:  # its pipes were closed under it
            _log.warning("check of %s: it was ended", name)
        with self._lock:
            self._running.pop(name, None)
        process.stop()
