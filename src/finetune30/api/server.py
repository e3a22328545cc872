"""Serving the application: where it may bind, and clear words when it cannot."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import uvicorn

from finetune30.api.host_names import is_loopback, is_wildcard
from finetune30.api.process_group import ProcessGroup
from finetune30.errors import ConfigError, ServiceUnavailableError
from finetune30.settings import Settings
from finetune30.store import RunStore, open_store
from finetune30.store.access import load_keys
from finetune30.store.folder_marks import own_folders

if TYPE_CHECKING:
    from starlette.types import ASGIApp

#: Streams are told to end; whoever still reads after so long is cut off.
STOP_SECONDS = 5
#: What a process needs beyond that to close what it has open.
STOP_REST_SECONDS = 3
#: On two cores more answers a second than one (docs/performance.md).
USUAL_PROCESSES = 2
#: Longer than clients keep idle connections, so that none of them is closed while a request is on its way.
KEEP_ALIVE_SECONDS = 75
#: How long a thread goes on before another one may. A submission asks the database a dozen times, and after every
#: answer its thread waits for its turn: with Python's 5 ms, fifty busy clients make it last a second.
SWITCH_SECONDS = 0.0005
_FREE_THE_PORT = "stop what uses the port, or choose another for the API and its page: FT30_API_PORT=8001"


def serve(settings: Settings, tell: Callable[[str], None], *, access_log: bool = True) -> None:
    """Serve until SIGINT or SIGTERM; `tell` gets the line with the address, once it is ours.

    `access_log`: a line for every request on standard error.

    Raises ConfigError for an address beyond this machine without keys, ServiceUnavailableError for a taken port,
    StorageError where the results or data folder is not the one of the database.
    """
    store = open_store(settings.resolved_database_url)
    try:
        require_keys_beyond_loopback(settings, store)
        _require_own_folders(settings, store, tell)
    finally:
        store.close()
    listener = open_listener(settings)
    count = count_processes(settings)
    answered_by = f", {count} processes" if count > 1 else ""
    tell(f"API: {describe_own_address(settings)}; every route: {describe_own_address(settings)}/docs{answered_by}")
    with listener, suppress(KeyboardInterrupt):  # raised again after everything is closed; stopping is no failure
        if count > 1:
            asyncio.run(_serve_together(settings, listener, count, tell, access_log))
        else:
            _serve_alone(settings, listener, access_log)


def count_processes(settings: Settings) -> int:
    """Return how many processes answer: FT30_API_PROCESSES, else two, or one on a machine with one processor."""
    return settings.api_processes or min(USUAL_PROCESSES, os.cpu_count() or 1)


def build_server_config(app: ASGIApp, *, access_log: bool, stop_seconds: float = STOP_SECONDS) -> uvicorn.Config:
    """Return how an application is served, in whichever process; `stop_seconds`: see STOP_SECONDS."""
    return uvicorn.Config(
        app,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(stop_seconds),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        lifespan="on",
        ws="none",
        log_level="info",
        access_log=access_log,
    )


def take_short_turns() -> None:
    """Let threads of this process take turns as those of a server should."""
    sys.setswitchinterval(SWITCH_SECONDS)


def _serve_alone(settings: Settings, listener: socket.socket, access_log: bool) -> None:
    from finetune30.api.application import build_app  # with several processes, this one needs none

    take_short_turns()
    uvicorn.Server(build_server_config(build_app(settings), access_log=access_log)).run(sockets=[listener])


async def _serve_together(
    settings: Settings, listener: socket.socket, count: int, tell: Callable[[str], None], access_log: bool
) -> None:
    seconds = STOP_SECONDS + STOP_REST_SECONDS
    await ProcessGroup(settings, listener, count, tell, access_log=access_log, stop_seconds=seconds).run()


def describe_own_address(settings: Settings) -> str:
    """Return the address at which this machine calls the API."""
    host = "localhost" if settings.api_host == "127.0.0.1" or is_wildcard(settings.api_host) else settings.api_host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.api_port}"


def require_keys_beyond_loopback(settings: Settings, store: RunStore) -> None:
    """Raise ConfigError when others could reach the API and nobody would have to show a key; `store` holds the keys."""
    if is_loopback(settings.api_host) or settings.api_keys:
        return
    if any(key.revoked_at is None for key in load_keys(store)):
        return
    place = "every address" if is_wildcard(settings.api_host) else settings.api_host
    raise ConfigError(
        f"FT30_API_HOST: {settings.api_host!r} opens the API to {place}, and there are no keys",
        "make one with: ft30 keys create NAME --role admin, or set FT30_API_KEYS",
    )


def _require_own_folders(settings: Settings, store: RunStore, tell: Callable[[str], None]) -> None:
    for note in own_folders(store, settings.results_folder, settings.data_folder)[1]:
        tell(f"WARNING: {note}")


def open_listener(settings: Settings, *, remedy: str = _FREE_THE_PORT) -> socket.socket:
    """Return a bound socket. Raises ServiceUnavailableError, with a remedy, when address or port cannot be had."""
    host = "0.0.0.0" if settings.api_host in ("", "*") else settings.api_host  # noqa: S104 - asked for by name
    try:
        family, *_, address = socket.getaddrinfo(host, settings.api_port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each answer waits 40 ms for an ACK
            listener.bind(address)
            listener.listen(512)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ServiceUnavailableError(
            f"the API cannot listen on {settings.api_host}:{settings.api_port}: {error.strerror or error}",
            remedy,
        ) from error
    return listener
