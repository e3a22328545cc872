"""Addresses at which this machine calls its services."""

from __future__ import annotations

import httpx
import pytest

from finetune30.cli.addresses import own_address, shown_address


@pytest.mark.parametrize(
    ("host", "called", "shown"),
    [
        ("127.0.0.1", "http://127.0.0.1:80", "http://localhost:80"),
        ("0.0.0.0", "http://127.0.0.1:80", "http://localhost:80"),  # noqa: S104 - compared, not bound
        ("::", "http://[::1]:80", "http://localhost:80"),
        ("::1", "http://[::1]:80", "http://[::1]:80"),
        ("*", "http://127.0.0.1:80", "http://localhost:80"),
        ("fd00::7", "http://[fd00::7]:80", "http://[fd00::7]:80"),
        ("box.example", "http://box.example:80", "http://box.example:80"),
    ],
)
def test_every_host_has_an_address_that_can_be_called(host: str, called: str, shown: str) -> None:
    assert (own_address(host, 80), shown_address(host, 80)) == (called, shown)
    assert httpx.URL(called).host
