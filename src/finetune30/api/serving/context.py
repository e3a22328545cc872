"""What every route of a server of models may use."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import Annotated

from fastapi import Depends, Request

from finetune30.api.context import Caller
from finetune30.api.serving.telemetry import ServingTelemetry
from finetune30.errors import ServiceUnavailableError
from finetune30.service.serving.batcher import Batcher, Limits
from finetune30.service.serving.slots import Loaded, Slots
from finetune30.service.serving.talking import Talks
from finetune30.store import RunStore
from finetune30.store.access import Role

#: Who the server is to itself: it asks versions that do not answer others yet.
CHECKER = Caller("certificate", Role.CALLER)
#: How long one question of its check may wait for its turn and be computed.
CHECK_SECONDS = 300.0


@dataclass(eq=False)
class Serving:
    """Names, queues and counts of one server; `is_draining` once it takes nothing more."""

    store: RunStore
    slots: Slots
    limits: Limits
    telemetry: ServingTelemetry = field(default_factory=ServingTelemetry)
    is_draining: bool = False

    def __post_init__(self) -> None:
        self.batcher = Batcher(self.limits, self.telemetry.observe_batch)
        self.talks = Talks()
        self._check_limits = replace(self.limits, queue_rows=sys.maxsize, deadline=CHECK_SECONDS)

    def find(self, name: str, request: Request) -> Loaded:
        """Return what answers to a name for this request. Raises as `Slots.find`, and once nothing more is taken."""
        if self.is_draining:
            raise ServiceUnavailableError("the server is being stopped", "ask another one, or again in a moment")
        return self.slots.find(name, checks=self.is_own(request))

    @property
    def is_alive(self) -> bool:
        """Whether the threads that ask the models are there."""
        return self.batcher.is_alive and self.talks.is_alive

    def is_own(self, request: Request) -> bool:
        """Whether the server asks itself, to check a version: it is not refused for what others ask."""
        return request.state.caller is CHECKER

    def limits_of(self, request: Request) -> Limits:
        """Return what holds for a request."""
        return self._check_limits if self.is_own(request) else self.limits

    def close(self, *, wait: bool = True) -> None:
        """Answer what waits, and end; without `wait` nothing is answered any more."""
        self.is_draining = True
        if not wait:
            return
        self.batcher.close()
        self.talks.close()


async def _serving_of(request: Request) -> Serving:  # what is not async takes a thread, of every request
    found: Serving = request.app.state.serving
    return found


Here = Annotated[Serving, Depends(_serving_of)]
