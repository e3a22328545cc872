"""A stream that nobody reads ends by itself, and lets go of what makes it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import Response

from finetune30.api.serving import timed_stream
from finetune30.api.serving.timed_stream import TimedStream
from support.api_thread import serve
from support.patience import wait_until


def test_a_stream_that_nobody_reads_ends_and_one_that_is_read_comes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed_stream, "STALLED_SECONDS", 0.5)
    app, ended = FastAPI(), list[int]()

    async def pieces(count: int) -> AsyncGenerator[bytes]:
        try:
            for _ in range(count):
                yield bytes(1 << 20)
                await asyncio.sleep(0)
        finally:
            ended.append(count)

    @app.get("/{count}")
    async def read(count: int) -> Response:
        return TimedStream(pieces(count), {}, "text/event-stream")

    with socket.socket() as listener, contextlib.closing(socket.socket()) as caller:
        listener.bind(("127.0.0.1", 0))
        with serve(app, listener) as address:
            caller.connect(listener.getsockname())
            caller.sendall(b"GET /1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            try:
                wait_until(lambda: ended == [1000], 30, "the stream ended although 1,000 MB wait for its reader")
            finally:
                caller.close()  # or the server waits for it at its end
            assert len(httpx.get(f"{address}/3").content) == 3 << 20
    assert ended == [1000, 3]
