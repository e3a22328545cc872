"""Clients that never pause: each sends its next request as soon as the answer before has come, over one connection.

They write bytes that were built beforehand and read no more of an answer than its status and length, for they take
their processor time from the same machine as the server that they load.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import psutil

_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True)
class Prepared:
    """A request as bytes; `kind` is the name of its question."""

    kind: str
    data: bytes


@dataclass
class Tally:
    """What came of a load: milliseconds to the last byte by kind, answers that are errors, seconds in all.

    `server_cpu` is the processor time of the server's processes, `client_cpu` that of this one, in seconds.
    """

    times: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0
    server_cpu: float = 0.0
    client_cpu: float = 0.0

    @property
    def all_times(self) -> list[float]:
        """The milliseconds of every answer."""
        return [one for of_kind in self.times.values() for one in of_kind]

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.all_times) / self.seconds

    @property
    def cpu_per_answer(self) -> float:
        """Milliseconds of the server's processor time an answer."""
        return self.server_cpu * 1000 / len(self.all_times)


def prepare(kind: str, method: str, path: str, arguments: Mapping[str, Any]) -> Prepared:
    """Return a request with the arguments that httpx would take: `params`, `json`."""
    query = f"?{urlencode(arguments['params'])}" if arguments.get("params") else ""
    body = json.dumps(arguments["json"]).encode() if "json" in arguments else b""
    head = [f"{method} {path}{query} HTTP/1.1", "Host: localhost", "Accept: */*"]
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return Prepared(kind, "\r\n".join(head).encode() + _END_OF_HEAD + body)


async def load(address: str, requests: Sequence[Prepared], clients: int) -> Tally:
    """Send every request, from so many clients at a time; return what came of it."""
    place, tally, left = urlsplit(address), Tally(), iter(requests)
    server = find_server(place.port or 80)
    before, cpu_before, started = _processor_seconds(server), time.process_time(), time.perf_counter()
    loop = asyncio.get_running_loop()
    ends: list[asyncio.Future[None]] = []
    for _ in range(clients):
        end = loop.create_future()
        ends.append(end)
        await loop.create_connection(lambda end=end: _Client(left, tally, end), place.hostname, place.port)
    await asyncio.gather(*ends)
    tally.seconds = time.perf_counter() - started
    tally.client_cpu = time.process_time() - cpu_before
    tally.server_cpu = _processor_seconds(server) - before
    return tally


def find_server(port: int) -> psutil.Process:
    """Return the process of this machine that listens on a port."""
    listening = (one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN and one.pid)
    return psutil.Process(next(one.pid for one in listening if one.laddr.port == port))


def _processor_seconds(server: psutil.Process) -> float:
    family = [server, *server.children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in family)


class _Client(asyncio.Protocol):
    def __init__(self, left: Iterator[Prepared], tally: Tally, end: asyncio.Future[None]) -> None:
        self._left, self._tally, self._end = left, tally, end
        self._received = bytearray()
        self._asked: Prepared | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(_END_OF_HEAD)
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(self._received) < end + len(_END_OF_HEAD) + length:
            return
        assert self._asked is not None
        taken = (time.perf_counter() - self._started) * 1000
        self._tally.times.setdefault(self._asked.kind, []).append(taken)
        if head[9:10] >= b"4":
            self._note(bytes(self._received).decode(errors="replace")[-300:])
        self._received.clear()
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if self._asked is not None:
            self._note(f"the connection was lost: {error!r}")
        if not self._end.done():
            self._end.set_result(None)

    def _ask(self) -> None:
        self._asked = next(self._left, None)
        if self._asked is None:
            self._transport.close()
            return
        self._started = time.perf_counter()
        self._transport.write(self._asked.data)

    def _note(self, what: str) -> None:
        assert self._asked is not None
        self._tally.errors.append(f"{self._asked.kind}: {what}")
