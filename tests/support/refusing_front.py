"""A door before Redis that can answer every command with an error of its choice, as no Redis does at will."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self


class RefusingFront:
    """Passes bytes on to Redis; after `refuse` every connection hears that error, after `pass_on` all connect anew."""

    def __init__(self, redis_port: int) -> None:
        self._redis_port, self._error = redis_port, b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.port: int = self._listener.getsockname()[1]
        self.refused = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._hang_up()

    def refuse(self, error: str) -> None:
        """Answer all commands with `error`, those that wait for their answer at once."""
        self._error = f"-{error}\r\n".encode()
        for caller, redis in list(self._pairs):
            with suppress(OSError):
                redis.shutdown(socket.SHUT_RDWR)  # whatever it says now is not heard
            with suppress(OSError):
                caller.sendall(self._error)

    def pass_on(self) -> None:
        """Be a plain door again."""
        self._error = b""
        self._hang_up()

    def _hang_up(self) -> None:
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                caller, _ = self._listener.accept()
                redis = socket.create_connection(("127.0.0.1", self._redis_port))
                self._pairs.append((caller, redis))
                threading.Thread(target=self._ask, args=(caller, redis), daemon=True).start()
                threading.Thread(target=self._answer, args=(redis, caller), daemon=True).start()

    def _ask(self, caller: socket.socket, redis: socket.socket) -> None:
        with suppress(OSError), caller:
            while words := caller.recv(1 << 16):
                if not self._error:
                    redis.sendall(words)
                    continue
                # A command begins with the number of its parts, `*3`.
                commands = (b"\r\n" + words).count(b"\r\n*")
                self.refused += commands
                caller.sendall(self._error * commands)

    def _answer(self, redis: socket.socket, caller: socket.socket) -> None:
        with suppress(OSError), redis:
            while words := redis.recv(1 << 16):
                if not self._error:
                    caller.sendall(words)
