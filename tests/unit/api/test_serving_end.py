"""The end of a server of models: it says so for a moment, and whoever presses Ctrl-C twice waits for nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request

from finetune30.api.context import Caller
from finetune30.api.serving import server
from finetune30.api.serving.context import Serving
from finetune30.api.serving.predictions import _wait
from finetune30.errors import ServiceUnavailableError
from finetune30.service.serving.batcher import Limits
from finetune30.service.serving.slots import Slots
from finetune30.store import open_store
from finetune30.store.access import Role

SOMEBODY = Caller("app", Role.CALLER)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    store = open_store(f"sqlite:///{tmp_path}/experiments.db")
    found = Serving(store, Slots(()), Limits())
    yield found
    found.close()
    store.close()


def request() -> Request:
    async def receive() -> dict[str, str]:
        await asyncio.sleep(1000)
        return {}

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "state": {"caller": SOMEBODY}}
    return Request(scope, receive)


def test_a_server_that_is_told_to_stop_listens_a_moment_and_takes_nothing(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    draining = server._Draining(uvicorn.Config("none:none"), serving)
    draining.handle_exit(signal.SIGINT, None)
    assert (serving.is_draining, draining.should_exit) == (True, False)
    with pytest.raises(ServiceUnavailableError, match="is being stopped"):
        serving.find("moods", request())
    assert asyncio.run(draining.on_tick(1)) is False
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.0)
    other = server._Draining(uvicorn.Config("none:none"), serving)
    other.handle_exit(signal.SIGTERM, None)
    assert (asyncio.run(other.on_tick(1)), other.force_exit) == (True, False)
    draining.handle_exit(signal.SIGTERM, None)
    assert (draining.force_exit, draining.should_exit) == (False, False)
    draining.handle_exit(signal.SIGINT, None)
    assert (draining.force_exit, draining.should_exit) == (True, True)


def test_whoever_is_cut_off_does_not_keep_the_model_busy() -> None:
    asked: Future[Any] = Future()

    async def cut_off() -> None:
        waiting = asyncio.ensure_future(_wait(asked, 1e9, request()))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(cut_off())
    assert asked.cancelled()
