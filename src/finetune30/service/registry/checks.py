"""Checks of versions on behalf of the API, in processes of their own: whoever registers stays free of torch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from finetune30.errors import Finetune30Error
from finetune30.service.models.model_process import ModelProcess, read_answer
from finetune30.store.model_records import ModelVersion, VersionState

CHECK_SECONDS = 3600.0
#: Checks at a time: each holds a model in memory. The others wait, without a process.
MOST_CHECKS = 2

_log = logging.getLogger(__name__)


class ChecksInWork:
    """One check of a version at a time; safe to use from several threads. What it finds stands on record."""

    def __init__(self, process: Callable[[str], ModelProcess] = ModelProcess) -> None:
        self._process = process
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[str, str]] = {}
        self._running: dict[str, ModelProcess] = {}
        self._closed = False

    def start(self, version: ModelVersion, by: str) -> None:
        """Check a version that is CHECKING, unless that is under way: at once, or after those before it."""
        with self._lock:
            if version.state is not VersionState.CHECKING or version.name in (*self._running, *self._waiting):
                return
            self._waiting[version.name] = (version.run_id, by)
            self._begin()

    def close(self) -> None:
        """End the checks under way; their versions stay CHECKING until somebody verifies them."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            running = list(self._running.values())
        for process in running:
            process.stop()

    def _begin(self) -> None:
        """Begin what waits, as far as there is room; the lock is held."""
        while self._waiting and len(self._running) < MOST_CHECKS and not self._closed:
            name = next(iter(self._waiting))
            run_id, by = self._waiting.pop(name)
            self._running[name] = process = self._process(run_id)
            threading.Thread(target=self._check, args=(name, process, by), name=f"check {name}", daemon=True).start()

    def _check(self, name: str, process: ModelProcess, by: str) -> None:
        try:
            read_answer(process.ask({"certify": {"version": name, "by": by}}, CHECK_SECONDS))
        except Finetune30Error as error:
            _log.warning("check of %s: %s", name, error.message)
        except ValueError:  # its pipes were closed under it
            _log.warning("check of %s: it was ended", name)
        finally:
            process.stop()
            with self._lock:
                self._running.pop(name, None)
                self._begin()
