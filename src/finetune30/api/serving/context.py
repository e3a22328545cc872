"""What every route of a server of models may use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from finetune30.api.context import Caller
from finetune30.api.serving.telemetry import ServingTelemetry
from finetune30.service.serving.batcher import Batcher, Limits
from finetune30.service.serving.slots import Loaded, Slots
from finetune30.service.serving.talking import Talks
from finetune30.store import RunStore
from finetune30.store.access import Role

#: Who the server is to itself: it asks versions that do not answer others yet.
CHECKER = Caller("certificate", Role.CALLER)


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
        self.talks = Talks(self.limits.deadline)

    def find(self, name: str, request: Request) -> Loaded:
        """Return what answers to a name for this request. Raises as `Slots.find`."""
        return self.slots.find(name, checks=request.state.caller is CHECKER)

    @property
    def is_alive(self) -> bool:
        """Whether the threads that ask the models are there."""
        return self.batcher.is_alive and self.talks.is_alive

    def close(self) -> None:
        """Answer what waits, and end."""
        self.is_draining = True
        self.batcher.close()
        self.talks.close()


def _serving_of(request: Request) -> Serving:
    found: Serving = request.app.state.serving
    return found


Here = Annotated[Serving, Depends(_serving_of)]
