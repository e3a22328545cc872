"""Whether the hub can be asked at all, told within seconds; the client's own answer to that takes minutes."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

_PROBE_SECONDS = 3.0
_ON = frozenset({"1", "ON", "YES", "TRUE"})
_OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_PORTS = {"http": 80, "https": 443}


def hub_endpoint() -> str:
    """Return the address of the hub or of the mirror in HF_ENDPOINT, without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def hub_reachable() -> bool:
    """Return whether a connection to the hub opens within three seconds.

    False at once where HF_HUB_OFFLINE is set; True behind a proxy, which only the real client can ask.
    """
    if is_offline_asked():
        return False
    if any(os.environ.get(name) for name in _PROXY_VARIABLES):
        return True
    address = urlsplit(hub_endpoint())
    try:
        port = address.port or _PORTS.get(address.scheme, 443)
        with socket.create_connection((address.hostname, port), timeout=_PROBE_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def is_offline_asked() -> bool:
    """Return whether the user asked to leave the hub alone."""
    return any(os.environ.get(name, "").upper() in _ON for name in _OFFLINE_VARIABLES)


def unreachable_reason() -> str:
    """Say why the hub is out of reach."""
    return "HF_HUB_OFFLINE is set" if is_offline_asked() else "the hub cannot be reached"


@contextmanager
def hub_left_alone() -> Iterator[None]:
    """Keep every Hugging Face library off the network: inside, what is needed lies on this machine already."""
    import huggingface_hub.constants

    # `datasets` keeps a switch of its own; whoever imports it later finds the hub's.
    switches: list[Any] = [
        huggingface_hub.constants,
        *(sys.modules[name] for name in ("datasets.config",) if name in sys.modules),
    ]
    before = [switch.HF_HUB_OFFLINE for switch in switches]
    for switch in switches:
        switch.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.HF_HUB_OFFLINE = value
