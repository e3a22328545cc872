"""How the service and its machine are, for whoever may look: measured once for all who ask within a few seconds."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

import finetune30
from finetune30.api.schemas import Moment
from finetune30.errors import ServiceUnavailableError, StorageError
from finetune30.jobs.redis_server import is_redis_up
from finetune30.service.runs.machine import Processors, read_disk, read_gpus, read_memory
from finetune30.service.runs.service_status import load_overview
from finetune30.settings import Settings
from finetune30.store import RunStore

#: However many pages are open, services and machine are looked at no more often.
FRESH_SECONDS = 2.0
READY_SECONDS = 1.0

_log = logging.getLogger(__name__)


class WorkerHealth(BaseModel):
    """A worker that was heard of lately."""

    slots: list[str] = Field(description="Its places: where it trains, one process each.", examples=[["cpu"]])
    busy: int = Field(description="Places that its runs take.", examples=[1])
    seen_at: Moment
    version: str | None = Field(
        description="Of its package; null: up to 0.2.0, which does not tell.", examples=["0.3.0"]
    )
    draining: bool = Field(description="It takes nothing new and ends with its runs.")


class ProcessorsHealth(BaseModel):
    """Processors of the machine."""

    cores: int | None = Field(examples=[8])
    percent: float | None = Field(description="Busy since the look before; null at the first.", examples=[37.5])
    load: float | None = Field(description="Mean of the last minute.", examples=[2.1])


class Memory(BaseModel):
    """Main memory of the machine."""

    used_bytes: int = Field(examples=[6_200_000_000])
    total_bytes: int = Field(examples=[16_600_000_000])


class Disk(BaseModel):
    """The disk of the results folder."""

    free_bytes: int = Field(examples=[92_000_000_000])
    total_bytes: int = Field(examples=[250_000_000_000])


class Gpu(BaseModel):
    """An NVIDIA GPU as `nvidia-smi` tells of it; null where the card does not."""

    index: int | None = Field(examples=[0])
    name: str = Field(examples=["NVIDIA A10G"])
    percent: int | None = Field(examples=[64])
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    temperature_celsius: int | None = Field(examples=[51])


class Machine(BaseModel):
    """The machine on which the API runs."""

    processors: ProcessorsHealth
    memory: Memory
    disk: Disk
    gpus: list[Gpu] | None = Field(description="null: no NVIDIA driver, or it does not answer.")


class ServiceHealth(BaseModel):
    """The service and its machine; null where the database is down and nobody knows."""

    at: Moment
    version: str = Field(examples=["0.1.0"])
    redis: Literal["up", "down", "refuses"] = Field(description="refuses: login or certificate is not accepted.")
    database: Literal["up", "down"]
    queued: int | None = Field(examples=[3])
    running: int | None = Field(examples=[1])
    workers: list[WorkerHealth] | None
    machine: Machine


class Readiness:
    """Whether the database takes changes, for everybody who reaches the port: asked of it once for all within a second.

    What it refuses goes into the log; the answer tells no user, host or path.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked_at: float | None = None
        self._refused = False

    def require(self, store: RunStore) -> None:
        """Raise StorageError when no run could be accepted now.

        While somebody asks, which takes as long as the database keeps its callers waiting, the last answer holds.
        """
        if self._lock.acquire(blocking=self._asked_at is None):
            try:
                if self._asked_at is None or time.monotonic() - self._asked_at > READY_SECONDS:
                    self._refused = not _takes_changes(store)
                    self._asked_at = time.monotonic()
            finally:
                self._lock.release()
        if self._refused:
            raise StorageError("the database takes no changes now", "look into the log of the API")


def _takes_changes(store: RunStore) -> bool:
    try:
        store.require_writable()
    except StorageError as error:
        _log.error("not ready: %s", error.message)
        return False
    return True


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
        {key: worker[key] for key in ("slots", "busy", "seen_at", "version", "draining")}
        for worker in overview["workers"]
    ]
    running = overview["runs"]["RUNNING"]
    return {"database": "up", "queued": overview["queued"], "running": running, "workers": workers}
