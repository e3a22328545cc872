"""What every route may use: the services of this process and the caller of this request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

from anyio import CapacityLimiter, fail_after, to_thread
from fastapi import Depends, Request
from starlette.responses import Response

from finetune30.errors import AccessError, ServiceUnavailableError
from finetune30.service.datasets.reading_process import Readings
from finetune30.service.runs.open_records import Records
from finetune30.service.submitting.submission import PRIORITIES
from finetune30.settings import Settings
from finetune30.store import Run, RunStore
from finetune30.store.access import Role
from finetune30.store.model_names import PROTECTED
from finetune30.store.searches import Search

if TYPE_CHECKING:
    from finetune30.service.submitting.submission import Publisher

#: Threads that answer. Python runs one of them at a time: with more, each waits longer for its turn after every query.
THREADS = 16
#: Further ones for questions that take seconds, so that these never keep quick ones waiting.
SLOW_THREADS = 16
#: Processes that read data at a time (each may take FT30_READ_MEMORY_BYTES), and how long a request waits for a place.
READINGS_AT_A_TIME = 2
PLACE_SECONDS = 60.0

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Services:
    """Opened once a process; `publisher` tells the workers that a run waits."""

    settings: Settings
    store: RunStore
    publisher: Publisher

    @property
    def records(self) -> Records:
        """The runs of the results folder."""
        return Records(self.store, self.settings.results_folder)


@dataclass(frozen=True)
class Caller:
    """Who asks: `name` is that of the key, "" for a person at this machine where no keys are in use."""

    name: str
    role: Role

    @property
    def label(self) -> str:
        """Who it was, in words for the audit trail."""
        return self.name or "local"

    def require_own(self, run: Run) -> None:
        """Raise AccessError unless the run is the caller's own, or the caller an admin."""
        if not self._owns(run.submitted_by or ""):
            raise AccessError(
                f"run {run.id} was submitted by {run.submitted_by or 'local'!r}, not by {self.label!r}",
                "ask its submitter, or use a key with the role admin",
            )

    def require_own_search(self, search: Search) -> None:
        """Raise AccessError unless the search is the caller's own, or the caller an admin."""
        if not self._owns(search.submitted_by):
            raise AccessError(
                f"search {search.id} was submitted by {search.submitted_by or 'local'!r}, not by {self.label!r}",
                "ask its submitter, or use a key with the role admin",
            )

    def _owns(self, submitted_by: str) -> bool:
        return self.role is Role.ADMIN or submitted_by == self.name

    def require_alias(self, alias: str) -> None:
        """Raise AccessError for an alias that the caller's role may not move."""
        if alias in PROTECTED and not self.role.includes(Role.PROMOTER):
            raise AccessError(
                f"'{alias}' is moved by keys with the role promoter or admin, {self.label!r} has {self.role}",
                f"ask an admin for a key: ft30 keys create NAME --role {Role.PROMOTER}",
            )

    def require_priority(self, priority: int, settings: Settings) -> None:
        """Raise AccessError for a priority above that which the caller's role may give."""
        most = self.highest_priority(settings)
        if priority > most:
            raise AccessError(
                f"priority {priority} is for keys with the role admin; {self.label!r} may give -100 to {most}",
                f"use {most} or less, or ask an admin",
            )

    def highest_priority(self, settings: Settings) -> int:
        """Return the highest priority that the caller's role may give a run."""
        return max(PRIORITIES) if self.role is Role.ADMIN else settings.submitter_max_priority

    def usual_priority(self, settings: Settings) -> int:
        """Return the priority of what is submitted without one: 0, or less where the caller may not give 0."""
        return min(0, self.highest_priority(settings))


def limit_threads() -> CapacityLimiter:
    """Set the number of threads of this event loop; return the limiter of the slow ones."""
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    return CapacityLimiter(SLOW_THREADS)


async def answer_slowly(request: Request, work: Callable[[], Response]) -> Response:
    """Run what may take seconds in a thread that quick answers do not need."""
    return await to_thread.run_sync(work, limiter=request.app.state.slow_threads)


async def read_in_turn(request: Request, work: Callable[[Readings], Answer]) -> Answer:
    """Let `work` ask a process that reads data once one of the few places is free.

    Raises ServiceUnavailableError when none gets free in time.
    """
    places: CapacityLimiter = request.app.state.reading_places
    readings: Readings = request.app.state.readings
    holder = object()
    try:
        with fail_after(PLACE_SECONDS):
            await places.acquire_on_behalf_of(holder)
    except TimeoutError:
        raise ServiceUnavailableError(
            f"{READINGS_AT_A_TIME} others read data here since {PLACE_SECONDS:.0f} s", "try again in a while"
        ) from None
    try:
        return await to_thread.run_sync(lambda: work(readings), limiter=request.app.state.slow_threads)
    finally:
        places.release_on_behalf_of(holder)


# Coroutines, though they wait for nothing: FastAPI gives plain functions to a thread, which takes longer than they do.


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


Here = Annotated[Services, Depends(_services)]
Who = Annotated[Caller, Depends(_caller)]
