"""One of several processes of the API: it is given open connections and answers what comes over them.

A request that only the first process answers goes there with its connection, which stays there: bodies, streams and the
caller's address need no proxy.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from finetune30 import failpoints
from finetune30.api.answers import answer_error
from finetune30.api.application import build_app
from finetune30.api.connection_pipe import ConnectionPipe
from finetune30.api.server import build_server_config, take_short_turns
from finetune30.api.shared_requests import is_answered_anywhere
from finetune30.errors import ServiceUnavailableError
from finetune30.settings import Settings

#: Of a first line that is longer, the first process says what is wrong with it.
_LONGEST_LINE = 1 << 16

HandOver = Callable[[socket.socket, bytes], None]


def answer_connections(settings: Settings, number: int, pipe: socket.socket, *, access_log: bool) -> None:
    """Answer, as process `number` (the first is 1), until SIGTERM or until the process that deals them out is gone."""
    take_short_turns()
    app: ASGIApp = build_app(settings, is_first=number == 1)
    if number > 1:
        app = _OnlyShared(app)
    config = build_server_config(app, access_log=access_log)
    _Server(config, pipe, hands_over=number > 1).run(sockets=[])


class _Server(uvicorn.Server):
    """Takes its connections from a pipe instead of a port."""

    def __init__(self, config: uvicorn.Config, pipe: socket.socket, *, hands_over: bool) -> None:
        super().__init__(config)
        self._socket, self._hands_over = pipe, hands_over
        self._tasks: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the application, say so, and take connections."""
        failpoints.reach("api.before_ready")
        await super().startup(sockets)
        self._pipe = ConnectionPipe(self._socket)
        self._keep(self._take_connections())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections and end those that there are."""
        for task in self._tasks:
            task.cancel()
        await super().shutdown(sockets)

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_connections(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._pipe.say_ready()
            while True:
                connection, received = await self._pipe.receive()
                if connection is not None:
                    connection.setblocking(False)
                    await loop.connect_accepted_socket(partial(self._protocol, received), connection)
        except (EOFError, OSError):  # whoever deals them out is gone
            self.should_exit = True

    def _protocol(self, received: bytes) -> _Connection:
        hand_over = self._hand_over if self._hands_over else None
        return _Connection(self.config, self.server_state, self.lifespan.state, received, hand_over)

    def _hand_over(self, connection: socket.socket, received: bytes) -> None:
        self._keep(self._send(connection, received))

    async def _send(self, connection: socket.socket, received: bytes) -> None:
        with connection:
            try:
                await self._pipe.send(connection, received)
            except OSError:
                self.should_exit = True


class _Connection(H11Protocol):
    """A connection with its first bytes; `hand_over` takes it once a request belongs to the first process."""

    def __init__(
        self,
        config: uvicorn.Config,
        state: Any,
        app_state: dict[str, Any],
        received: bytes,
        hand_over: HandOver | None,
    ) -> None:
        super().__init__(config=config, server_state=state, app_state=app_state)
        self._received, self._hand_over = received, hand_over
        self._begun = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin with what another process has read."""
        super().connection_made(transport)
        if self._received:
            self.data_received(self._received)

    def data_received(self, data: bytes) -> None:
        """Look at the first line of every request before it is read further."""
        if self._hand_over is None or not self._is_between_requests:
            super().data_received(data)
            return
        self._begun += data
        line, found, _ = self._begun.partition(b"\n")
        if not found and len(line) < _LONGEST_LINE:
            return
        begun, self._begun = self._begun, b""
        if is_answered_anywhere(line):
            super().data_received(begun)
            return
        connection = self.transport.get_extra_info("socket").dup()
        self.transport.abort()  # closes this process's copy only: nothing waits to be written
        self._hand_over(connection, begun)

    @property
    def _is_between_requests(self) -> bool:
        is_idle = self.conn.our_state is h11.IDLE and self.conn.their_state is h11.IDLE
        return is_idle and self.transport.get_write_buffer_size() == 0


class _OnlyShared:
    """Refuses what belongs to the first process and came while an answer was still on its way over its connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] == "http":
            line = b"%s %s HTTP/1.1" % (scope["method"].encode(), scope["raw_path"])
            if not is_answered_anywhere(line):
                refused = ServiceUnavailableError(
                    "requests that are sent before the answer to the one before are not all taken",
                    "send it again, once the answer before is there",
                )
                await answer_error(refused)(scope, receive, send)
                return
        await self._app(scope, receive, send)
