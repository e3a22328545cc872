"""Runs with a history for mirrors, of which nothing is trained; and servers that no tracker should be like."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from finetune30.service.runs.open_records import Records
from finetune30.store import Claim, Run, RunFolder
from support.run_store_lab import Lab

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
METRICS = {"score": 0.5, "score_name": "eval_accuracy", "eval_accuracy": 0.5, "total_steps": 5, "labels": ["a", "b"]}


def step_record(step: int, *, loss: float | None = None, seconds: float = 0.0) -> dict[str, Any]:
    at = BEGAN + timedelta(seconds=step + seconds)
    values = {"loss": 1 / step if loss is None else loss, "samples_per_second": 100.0 + seconds}
    return {"type": "train", "step": step, "epoch": step / 5, **values, "time": at.isoformat(timespec="milliseconds")}


class MirroredRun:
    """A run that was claimed; `log` is what its attempt writes down."""

    def __init__(self, lab: Lab, name: str = "trial", **options: Any) -> None:
        self.lab = lab
        self.id = lab.create(name, **options).id
        self.claim: Claim = self._claim()

    @property
    def records(self) -> Records:
        return Records(self.lab.store, self.lab.results)

    @property
    def run(self) -> Run:
        return self.lab.store.get(self.id)

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.lab.results / self.run.folder)

    def log(self, records: Sequence[dict[str, Any]]) -> None:
        with (self.folder.attempts / str(self.claim.attempt) / "history.jsonl").open("a") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)

    def begin_another_attempt(self) -> None:
        self.lab.store.fail(self.claim, {"error": "process_lost", "message": "gone", "remedy": ""})
        self.lab.store.retry(self.id)
        self.claim = self._claim()

    def succeed(self) -> None:
        self.lab.store.succeed(self.claim, METRICS, "0" * 64)

    def _claim(self) -> Claim:
        claim = self.lab.store.claim(self.id, owner="worker", lease_seconds=60.0)
        assert claim is not None
        self.folder.open_attempt(claim.attempt)
        return claim


def read_records(path: Path) -> list[bytes]:
    """Return the records of a TFRecord file without a look at what they say; their lengths must add up."""
    content, found = path.read_bytes(), []
    while content:
        (length,) = struct.unpack_from("<Q", content)
        assert len(content) >= length + 16
        found.append(content[12 : 12 + length])
        content = content[length + 16 :]
    return found


@contextmanager
def closed_port() -> Iterator[str]:
    """The address of a port on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def silent_server() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def dripping_server() -> Iterator[str]:
    """A server whose answer comes byte by byte and has no end."""
    stopping = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not stopping.is_set():
            handler.wfile.write(b" ")
            time.sleep(0.05)

    with _served(drip) as address:
        yield address
        stopping.set()


@contextmanager
def answering_server(status: int, body: bytes, asked: list[str] | None = None) -> Iterator[str]:
    """A server that gives one answer to everything; `asked` gets requests: line, headers, body."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if asked is not None:
            sent = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
            asked.append(f"{handler.command} {handler.path}\n{handler.headers}{sent.decode()}")
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with _served(answer) as address:
        yield address


@contextmanager
def _served(answer: Any) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                answer(self)
            except ConnectionError:
                self.close_connection = True

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
