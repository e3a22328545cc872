"""What an address of this machine reaches."""

from __future__ import annotations

import ipaddress


def is_wildcard(host: str) -> bool:
    """Tell whether binding to this address means every address of the machine."""
    return host in ("", "0.0.0.0", "::", "*")  # noqa: S104 - compared, not bound


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
