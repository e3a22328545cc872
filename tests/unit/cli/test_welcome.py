"""What `ft30 up` says once all is up."""

from __future__ import annotations

import http.server
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator

import pytest

from finetune30.cli import welcome
from finetune30.cli.welcome import Welcome, framed
from support.patience import wait_until


@pytest.fixture
def page() -> Iterator[str]:
    """A server that answers everything."""

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_address_stands_last_in_a_frame() -> None:
    *_, last, bottom = framed(["Results results", "Page    http://localhost:8501"]).splitlines()
    assert last == "│ Page    http://localhost:8501 │"
    assert {len(line) for line in framed(["ab", "c"]).splitlines()} == {6}
    assert bottom.startswith("└")


@pytest.mark.parametrize(("wanted", "somebody"), [(True, True), (True, False), (False, True)])
def test_the_page_is_opened_once_it_answers_for_whoever_sits_there(
    page: str, monkeypatch: pytest.MonkeyPatch, wanted: bool, somebody: bool
) -> None:
    told: list[str] = []
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(welcome, "has_somebody", lambda: somebody)
    begun = Welcome(["Page"], [page], page, told.append)
    begun.begin(open_page=wanted)
    wait_until(lambda: bool(told), 20, "it is told")
    begun.end()
    assert opened == ([page] if wanted and somebody else [])


def test_nothing_is_told_of_what_was_stopped_before_it_answered() -> None:
    told: list[str] = []
    begun = Welcome(["Page"], ["http://127.0.0.1:9/healthz"], None, told.append)
    begun.begin(open_page=True)
    begun.end()
    assert told == []


def test_a_terminal_without_a_screen_has_nobody_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not welcome.has_somebody()
    monkeypatch.setenv("DISPLAY", ":0")
    assert welcome.has_somebody()


def test_time_is_up_also_where_answers_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(welcome, "_LONGEST_SECONDS", 0.2)
    monkeypatch.setattr(welcome, "_LOOK_SECONDS", 0.001)
    looks: list[str] = []

    def look(address: str) -> bool:
        looks.append(address)
        time.sleep(0.15)
        return False

    monkeypatch.setattr(welcome, "_answers", look)
    begun = Welcome(["Page"], ["http://127.0.0.1:9/healthz"], None, told.append)
    begun.begin(open_page=True)
    wait_until(lambda: bool(told), 20, "it is told")
    begun.end()
    assert len(looks) <= 2
