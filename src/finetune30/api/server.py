"""Serving the application: where it may bind, and clear words when it cannot."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from finetune30.api.access_gate import is_loopback, is_wildcard
from finetune30.api.application import build_app
from finetune30.errors import ConfigError, ServiceUnavailableError
from finetune30.settings import Settings
from finetune30.store import open_store
from finetune30.store.access import load_keys
from finetune30.store.folder_marks import own_folders

#: Streams are told to end; whoever still reads after so long is cut off.
STOP_SECONDS = 5
#: Longer than clients keep idle connections, so that none of them is closed while a request is on its way.
KEEP_ALIVE_SECONDS = 75
#: How long a thread goes on before another one may. A submission asks the database a dozen times, and after every
#: answer its thread waits for its turn: with Python's 5 ms, fifty busy clients make it last a second.
SWITCH_SECONDS = 0.0005


def serve(settings: Settings, tell: Callable[[str], None], *, access_log: bool = True) -> None:
    """Serve until SIGINT or SIGTERM; `tell` gets the line with the address, once it is ours.

    `access_log`: a line for every request on standard error.

    Raises ConfigError for an address beyond this machine without keys, ServiceUnavailableError for a taken port,
    StorageError where the results or data folder is not the one of the database.
    """
    require_keys_beyond_loopback(settings)
    _require_own_folders(settings, tell)
    listener = open_listener(settings)
    sys.setswitchinterval(SWITCH_SECONDS)
    config = uvicorn.Config(
        build_app(settings),
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        lifespan="on",
        ws="none",
        log_level="info",
        access_log=access_log,
    )
    tell(f"API: {describe_own_address(settings)}; every route: {describe_own_address(settings)}/docs")
    with listener, suppress(KeyboardInterrupt):  # raised again after everything is closed; stopping is no failure
        uvicorn.Server(config).run(sockets=[listener])


def describe_own_address(settings: Settings) -> str:
    """Return the address at which this machine calls the API."""
    host = "localhost" if settings.api_host == "127.0.0.1" or is_wildcard(settings.api_host) else settings.api_host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.api_port}"


def require_keys_beyond_loopback(settings: Settings) -> None:
    """Raise ConfigError when others could reach the API and nobody would have to show a key."""
    if is_loopback(settings.api_host) or settings.api_keys:
        return
    store = open_store(settings.resolved_database_url)
    try:
        if any(key.revoked_at is None for key in load_keys(store)):
            return
    finally:
        store.close()
    place = "every address" if is_wildcard(settings.api_host) else settings.api_host
    raise ConfigError(
        f"FT30_API_HOST: {settings.api_host!r} opens the API to {place}, and there are no keys",
        "make one with: ft30 keys create NAME --role admin, or set FT30_API_KEYS",
    )


def _require_own_folders(settings: Settings, tell: Callable[[str], None]) -> None:
    store = open_store(settings.resolved_database_url)
    try:
        for note in own_folders(store, settings.results_folder, settings.data_folder)[1]:
            tell(f"WARNING: {note}")
    finally:
        store.close()


def open_listener(settings: Settings) -> socket.socket:
    """Return a bound socket. Raises ServiceUnavailableError when address or port cannot be had."""
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
            "stop what uses the port, or choose another for the API and its page: FT30_API_PORT=8001",
        ) from error
    return listener
