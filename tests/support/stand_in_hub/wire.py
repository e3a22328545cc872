"""The wire: servers on loopback, and answers as bytes, damaged where a fault says so."""

from __future__ import annotations

import gzip
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from support.stand_in_hub.answers import Answer
from support.stand_in_hub.asks import Ask, parse_request
from support.stand_in_hub.faults import Compressed, CutBody, Delay, Fault, HangUp, Trickle, WrongLength

#: Below the ports that systems give to outgoing connections, which could take one while the hub is stopped.
PORTS = range(20_000, 32_000)


class Backend(Protocol):
    """Who knows the answers."""

    def decide(self, ask: Ask, user_agent: str) -> tuple[Answer, Fault | None]:
        """Return an answer and the fault that it shall have."""

    def wait(self, seconds: float) -> None:
        """Wait, but not longer than the backend serves."""


class Server(ThreadingHTTPServer):
    """A server whose connections end with it."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    serving = False

    def __init__(self, address: tuple[str, int], handler: Callable[..., BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave early are no error of the hub."""

    def end(self) -> None:
        if self.serving:
            self.shutdown()
        self.server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def listen(port: int, handler: Callable[..., BaseHTTPRequestHandler]) -> Server:
    if port:
        return Server(("127.0.0.1", port), handler)
    while True:
        with suppress(OSError):
            return Server(("127.0.0.1", random.SystemRandom().choice(PORTS)), handler)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body in two packets would wait for each other.
    disable_nagle_algorithm = True

    def __init__(self, backend: Backend, *arguments: Any) -> None:
        self._backend = backend
        super().__init__(*arguments)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
        """Requests are kept in a list, not printed."""

    def _respond(self) -> None:
        body = self._read_body()
        ask = parse_request(self.command, self.path, self.headers, body)
        answer, fault = self._backend.decide(ask, self.headers.get("User-Agent", ""))
        if isinstance(fault, HangUp):
            self._hang_up()
            return
        if isinstance(fault, Delay):
            self._backend.wait(fault.seconds)
        if isinstance(fault, Compressed) and answer.status == 200:
            self._send_compressed(answer)
            return
        self._send_head(answer, extra=fault.by if isinstance(fault, WrongLength) else 0)
        if self.command != "HEAD":
            self._send_body(answer.body, fault)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    do_GET = do_HEAD = do_POST = do_PUT = _respond  # noqa: N815

    def _send_head(self, answer: Answer, *, extra: int) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(max(len(answer.body) + extra, 0)))
        self.end_headers()

    def _send_compressed(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, f"W/{value}" if name == "ETag" else value)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        body = gzip.compress(answer.body, mtime=0)
        for start in range(0, len(body), 1024):
            part = body[start : start + 1024]
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _send_body(self, body: bytes, fault: Fault | None) -> None:
        if isinstance(fault, Trickle):
            for start in range(0, len(body), fault.part_bytes):
                self.wfile.write(body[start : start + fault.part_bytes])
                self._backend.wait(fault.pause_seconds)
            return
        if isinstance(fault, CutBody):
            body = body[: fault.length(len(body))]
        self.wfile.write(body)
        if isinstance(fault, CutBody | WrongLength):
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
