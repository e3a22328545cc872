"""Other web pages are kept out of this one: no frame, no socket, no file, under no other name."""

from __future__ import annotations

import base64
import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.patience import wait_until
from support.services import free_port

pytestmark = pytest.mark.integration

TRUSTED = "https://portal.example"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The page alone: the gate stands before anything that would need an API."""
    number, folder = free_port(), tmp_path_factory.mktemp("page-gate")
    process = subprocess.Popen(
        [sys.executable, "-m", "finetune30", "ui", "--port", str(number)],
        cwd=folder,
        env=os.environ | {"FT30_ALLOWED_ORIGINS": TRUSTED, "FT30_RESULTS_FOLDER": str(Path(folder) / "results")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: answers(number), 300, "the page answers")
        yield number
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://localhost:{port}/_stcore/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def status(port: int, path: str, method: str = "GET", **headers: str) -> int:
    """Return the status of an answer; that of a socket that was opened is 101."""
    connection = http.client.HTTPConnection("localhost", port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def socket_status(port: int, **headers: str) -> int:
    key = base64.b64encode(b"0123456789abcdef").decode()
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": key}
    return status(port, "/_stcore/stream", **upgrade, **headers)


def test_the_page_may_not_be_shown_in_a_frame_of_another(port):
    for path in ("/", "/_stcore/health"):
        told = httpx.get(f"http://localhost:{port}{path}").headers
        assert told["x-frame-options"] == "SAMEORIGIN"
        assert told["content-security-policy"] == "frame-ancestors 'self'"


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost:{port}", 101),
        (TRUSTED, 101),
        ("http://localhost:9999", 403),
        ("http://127.0.0.1:{port}", 403),
        ("https://localhost.evil.example", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
    ],
)
def test_a_socket_opens_for_the_page_itself_and_origins_that_are_named(port, origin, expected):
    assert socket_status(port, Origin=origin.format(port=port)) == expected


def test_a_program_without_an_origin_may_open_a_socket(port):
    assert socket_status(port) == 101


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_what_another_web_page_asks_is_refused(port, method):
    assert status(port, "/_stcore/upload_file/a/b", method, Origin="http://localhost:9999") == 403


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost:{port}", 200), ("127.0.0.1:{port}", 200), ("evil.example", 403), ("localhost@evil.example", 403)],
)
def test_the_page_answers_to_its_own_names_only(port, host, expected):
    assert status(port, "/", Host=host.format(port=port)) == expected
