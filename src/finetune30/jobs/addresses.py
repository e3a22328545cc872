"""Addresses as people may see them."""

from __future__ import annotations

from urllib.parse import urlsplit


def describe_address(url: str) -> str:
    """Return host and port, or the socket's path, of a service's URL: never the user and password in it."""
    parts = urlsplit(url)
    if not parts.hostname:
        return parts.path
    return f"{parts.hostname}:{parts.port or 6379}"
