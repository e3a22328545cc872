"""How the service and its machine are, for whoever may look: measured once for all who ask within a few seconds."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

import finetune30
from finetune30.errors import ServiceUnavailableError, StorageError
from finetune30.jobs.redis_server import is_redis_up
from finetune30.service.runs.machine import Processors, read_disk, read_gpus, read_memory
from finetune30.service.runs.service_status import load_overview
from finetune30.settings import Settings
from finetune30.store import RunStore

#: However many pages are open, services and machine are looked at no more often.
FRESH_SECONDS = 2.0


class HealthWatch:
    """The last look at services and machine; nothing in it names a host, an address, a path or a person."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processors = Processors()
        self._seen: tuple[float, dict[str, Any]] | None = None

    def read(self, store: RunStore, settings: Settings) -> dict[str, Any]:
        """Return the state; while somebody looks, the others wait for what that one finds."""
        with self._lock:
            if self._seen is None or time.monotonic() - self._seen[0] > FRESH_SECONDS:
                looked = self._look(store, settings)
                self._seen = (time.monotonic(), looked)
            return self._seen[1]

    def _look(self, store: RunStore, settings: Settings) -> dict[str, Any]:
        machine = {
            "processors": self._processors.read(),
            "memory": read_memory(),
            "disk": read_disk(settings.results_folder),
            "gpus": read_gpus(),
        }
        return {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": finetune30.__version__,
            "redis": _redis_state(settings.redis_url),
            **_runs_and_workers(store),
            "machine": machine,
        }


def _redis_state(url: str) -> str:
    try:
        return "up" if is_redis_up(url) else "down"
    except ServiceUnavailableError:  # it is there, and lets us not in: the log of the workers says why
        return "refuses"


def _runs_and_workers(store: RunStore) -> dict[str, Any]:
    """What the database tells; `database` is down, and the rest unknown, when it does not answer."""
    try:
        overview = load_overview(store)
    except StorageError:
        return {"database": "down", "queued": None, "running": None, "workers": None}
    workers = [
        {"slots": worker["slots"], "busy": len(worker["runs"]), "seen_at": worker["seen_at"]}
        for worker in overview["workers"]
    ]
    running = overview["runs"]["RUNNING"]
    return {"database": "up", "queued": overview["queued"], "running": running, "workers": workers}
