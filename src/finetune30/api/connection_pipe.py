"""Open connections on their way from one process of the API to another, with what was read of them already."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

#: Begins every message: how many bytes follow. Four bytes are sent whole or not at all.
_HEAD = struct.Struct("!I")


class ConnectionPipe:
    """One end of a pair of connected Unix sockets; for one event loop, which alone reads from it."""

    def __init__(self, own: socket.socket) -> None:
        own.setblocking(False)
        self._own = own
        self._turn = asyncio.Lock()

    def close(self) -> None:
        """Let go of this end; the other one receives no more."""
        self._own.close()

    async def say_ready(self) -> None:
        """Send the message without a connection: whoever sends it takes connections from now on. Raises OSError."""
        await self._send([], b"")

    async def send(self, connection: socket.socket, received: bytes = b"") -> None:
        """Give a connection away, with what it brought so far; the sender's own copy is left to the sender to close.

        Raises OSError when the other process is gone.
        """
        await self._send([connection.fileno()], received)

    async def receive(self) -> tuple[socket.socket | None, bytes]:
        """Return the next connection and what was read of it; None: the other process is ready.

        Raises EOFError when the other process is gone.
        """
        head, descriptors = await self._receive_head()
        received = bytearray()
        (length,) = _HEAD.unpack(head)
        loop = asyncio.get_running_loop()
        while len(received) < length:
            piece = await loop.sock_recv(self._own, length - len(received))
            if not piece:
                raise EOFError
            received += piece
        return (socket.socket(fileno=descriptors[0]) if descriptors else None), bytes(received)

    async def _send(self, descriptors: list[int], received: bytes) -> None:
        loop = asyncio.get_running_loop()
        async with self._turn:
            while True:
                try:
                    socket.send_fds(self._own, [_HEAD.pack(len(received))], descriptors)
                    break
                except BlockingIOError:
                    await self._wait(loop.add_writer, loop.remove_writer)
            if received:
                await loop.sock_sendall(self._own, received)

    async def _receive_head(self) -> tuple[bytes, list[int]]:
        loop = asyncio.get_running_loop()
        while True:
            try:
                head, descriptors, _, _ = socket.recv_fds(self._own, _HEAD.size, 1)
            except BlockingIOError:
                await self._wait(loop.add_reader, loop.remove_reader)
                continue
            except ConnectionError:
                raise EOFError from None
            if not head:
                raise EOFError
            return head, descriptors

    async def _wait(self, add: Callable[..., object], remove: Callable[[int], object]) -> None:
        number, ready = self._own.fileno(), asyncio.get_running_loop().create_future()
        add(number, _settle, ready)
        try:
            await ready
        finally:
            remove(number)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
