"""Checks of versions on behalf of the API: a few processes at a time, however many are registered."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

from finetune30.service.registry import checks
from finetune30.service.registry.checks import ChecksInWork
from finetune30.store.model_records import ModelVersion, VersionState
from support.patience import wait_until


class Process:
    """Answers once it is let go."""

    def __init__(self, made: list[Process], go: threading.Event) -> None:
        self._go, self.is_stopped = go, False
        made.append(self)

    def ask(self, _question: Any, _seconds: float) -> dict[str, Any]:
        assert self._go.wait(30)
        return {}

    def stop(self) -> None:
        self.is_stopped = True


def version(number: int) -> ModelVersion:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return ModelVersion("moods", number, "run", VersionState.CHECKING, "m", "a", "l", "b", "v", {}, None, at, "anna")


def test_a_few_are_under_way_and_the_others_wait_without_a_process() -> None:
    made: list[Process] = []
    go = threading.Event()
    work = ChecksInWork(lambda _run: Process(made, go))  # type: ignore[arg-type,return-value]
    for number in (1, 2, 3, 4, 4, 1):
        work.start(version(number), "anna")
    assert len(made) == checks.MOST_CHECKS
    go.set()
    wait_until(lambda: len(made) == 4 and all(one.is_stopped for one in made), 30, "every one was checked once")
