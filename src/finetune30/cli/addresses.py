"""Addresses of services as this machine calls them."""

from __future__ import annotations

#: Listening there means every address of the machine; itself it calls by the one of its own.
_EVERYWHERE = {"": "127.0.0.1", "*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared


def own_address(host: str, port: int) -> str:
    """Return the address at which a program on this machine calls a service that listens on `host`."""
    here = _EVERYWHERE.get(host, host)
    return f"http://{f'[{here}]' if ':' in here else here}:{port}"


def shown_address(host: str, port: int) -> str:
    """Return the same address as people of this machine write it."""
    return own_address("localhost" if host == "127.0.0.1" or host in _EVERYWHERE else host, port)
