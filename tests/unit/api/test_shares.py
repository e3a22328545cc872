"""What callers share: streams of events, and the look at whether the database takes changes."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient

from finetune30.api import event_stream, health
from finetune30.api.event_stream import EventStream
from finetune30.errors import QuotaError, StorageError
from finetune30.settings import load_settings
from finetune30.store import RunStore, database, open_store


def test_no_caller_takes_the_event_streams_of_the_others(
    monkeypatch: pytest.MonkeyPatch, submit: Callable[..., str]
) -> None:
    monkeypatch.setattr(event_stream, "MOST_STREAMS", 16)
    run_id, store = submit(), open_store(load_settings().resolved_database_url)

    async def open_until_refused(stream: EventStream, caller: str, opened: list[StreamingResponse]) -> int:
        for count in range(20):
            try:
                answer = await stream.answer(store, run_id, None, caller)
            except QuotaError:
                return count
            assert isinstance(answer, StreamingResponse)
            await anext(aiter(answer.body_iterator))
            opened.append(answer)
        raise AssertionError("nothing was refused")

    async def look() -> tuple[list[int], int]:
        stream, opened = EventStream(), list[StreamingResponse]()
        counts = [await open_until_refused(stream, caller, opened) for caller in ("anna", "ben", "carl")]
        for answer in opened[:8]:  # Anna leaves
            assert isinstance(answer.body_iterator, AsyncGenerator)
            await answer.body_iterator.aclose()
        return counts, await open_until_refused(stream, "dora", opened)

    with start_blocking_portal() as portal:  # a thread of its own: this one may run a browser's loop
        assert portal.call(look) == ([8, 4, 2], 5)
    store.close()


def test_readiness_is_that_of_the_next_change(
    start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(health, "READY_SECONDS", 0.0)
    api = start()
    assert api.get("/readyz").status_code == 200
    with sqlite3.connect(Path("results") / "experiments.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = api.get("/readyz")
        other.execute("ROLLBACK")
    other.close()
    assert (answer.status_code, answer.json()["message"]) == (507, "the database takes no changes now")
    assert api.get("/readyz").status_code == 200


def test_readiness_tells_nobody_where_the_database_is(
    start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(store: RunStore) -> None:
        raise StorageError("database postgresql+psycopg://ft30@10.0.0.7:5432/ft30: connection failed")

    api = start()
    monkeypatch.setattr(RunStore, "require_writable", fail)
    answer = api.get("/readyz")
    assert answer.status_code == 507
    assert [word for word in ("ft30@", "10.0.0.7", "5432", "postgresql") if word in answer.text] == []
