"""An API on a port of its own, in a thread of this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from support.patience import wait_until


@contextmanager
def serve(app: FastAPI, listener: socket.socket | None = None) -> Iterator[str]:
    """Serve `app` on a free port of 127.0.0.1, or on a socket that is bound already; gives its address."""
    if listener is None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
    with listener:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="on", ws="none", log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        wait_until(lambda: server.started, 30, "the API is up")
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
