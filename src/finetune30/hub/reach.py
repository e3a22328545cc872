"""Whether the hub can be asked at all, told within seconds; the client's own answer to that takes minutes."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from finetune30.errors import HubAnswerError

_HUB = "https://huggingface.co"
_PROBE_SECONDS = 3.0
_ON = frozenset({"1", "ON", "YES", "TRUE"})
_OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_PORTS = {"http": 80, "https": 443}


def hub_endpoint() -> str:
    """Return the address of the hub or of the mirror in HF_ENDPOINT, without a slash at its end.

    Raises HubAnswerError for an HF_ENDPOINT that is no address, with which the client asks nobody.
    """
    named = os.environ.get("HF_ENDPOINT")
    if named is None:
        return _HUB
    address = urlsplit(named)
    if address.scheme not in _PORTS or not address.hostname:
        raise HubAnswerError(
            f"HF_ENDPOINT is {named!r}, which is no address of a hub", f"write it like {_HUB}, or unset it"
        )
    return named.rstrip("/")


def hub_reachable() -> bool:
    """Return whether a connection to the hub opens within three seconds.

    False at once where the user asked to leave it alone; True behind a proxy, which only the real client can ask.
    Raises HubAnswerError for an HF_ENDPOINT that is no address.
    """
    address = urlsplit(hub_endpoint())
    if find_offline_variable():
        return False
    if find_proxy_variable():
        return True
    try:
        port = address.port or _PORTS[address.scheme]
        with socket.create_connection((address.hostname, port), timeout=_PROBE_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def find_offline_variable() -> str | None:
    """Return the variable by which the user asked to leave the hub alone."""
    return next((name for name in _OFFLINE_VARIABLES if os.environ.get(name, "").upper() in _ON), None)


def find_proxy_variable() -> str | None:
    """Return the variable that names a proxy."""
    return next((name for name in _PROXY_VARIABLES if os.environ.get(name)), None)


def unreachable_reason() -> str:
    """Say why the hub is out of reach, and by which address where that is not the usual one."""
    if variable := find_offline_variable():
        return f"{variable} is set"
    endpoint, proxy = hub_endpoint(), find_proxy_variable()
    if endpoint == _HUB and proxy is None:
        return "the hub cannot be reached"
    return f"the hub cannot be reached at {endpoint}{f' through the proxy in {proxy}' if proxy else ''}"


_alone_lock = threading.Lock()
_alone_depth = 0
_switches_before: list[tuple[Any, bool]] = []


@contextmanager
def hub_left_alone() -> Iterator[None]:
    """Keep every Hugging Face library off the network: inside, what is needed lies on this machine already.

    The libraries' switches are those of the process, so its other threads are kept off too, until the last one leaves.
    """
    global _alone_depth
    with _alone_lock:
        if _alone_depth == 0:
            _switch_off()
        _alone_depth += 1
    try:
        yield
    finally:
        with _alone_lock:
            _alone_depth -= 1
            if _alone_depth == 0:
                for switch, value in _switches_before:
                    switch.HF_HUB_OFFLINE = value


def _switch_off() -> None:
    import huggingface_hub.constants

    # `datasets` keeps a switch of its own; whoever imports it later finds the hub's.
    loaded = [sys.modules["datasets.config"]] if "datasets.config" in sys.modules else []
    _switches_before[:] = [(switch, switch.HF_HUB_OFFLINE) for switch in (huggingface_hub.constants, *loaded)]
    for switch, _ in _switches_before:
        switch.HF_HUB_OFFLINE = True
