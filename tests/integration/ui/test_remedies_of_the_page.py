"""What the page and its command say to do is done to the letter, and the page is then there."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from finetune30.jobs.redis_server import is_port_taken
from finetune30.ui import session
from support.patience import wait_until
from support.services import Services, free_port

pytestmark = [
    pytest.mark.integration,
    # Streamlit's test runner looks for a session where there is none.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@contextmanager
def served(port: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "finetune30", "ui", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as page:
        try:
            yield page
        finally:
            page.kill()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://localhost:{port}/_stcore/health", timeout=600).status_code == 200
    except httpx.TransportError:
        return False


def test_a_port_that_something_has_is_freed_or_another_is_chosen() -> None:
    pytest.importorskip("streamlit", reason="Streamlit is not installed")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        taken = other.getsockname()[1]
        with served(taken) as page:
            said = page.communicate(timeout=600)[1]
        assert page.returncode == 1
        assert said.rstrip().endswith("Try: stop what listens there, or choose another: ft30 ui --port 8502")
        another = 8502 if not is_port_taken("127.0.0.1", 8502) else free_port()
        with served(another):
            wait_until(lambda: answers(another), 60, "the page answers there")
    with served(taken):  # what had it is gone
        wait_until(lambda: answers(taken), 60, "the page answers here")


def test_a_page_for_other_machines_is_shown_once_a_key_was_made_and_given(
    tmp_path: Path, visit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "requires_key", lambda: True)  # what `ft30 ui --host 0.0.0.0` tells the page
    with closing(Services(tmp_path)) as services:
        services.start_api()
        services.wait_for_api()
        page = visit(services.api_address)
        (told,) = page.error
        command = re.search(r"Make one first: `(ft30 keys create NAME)`", told.value)
        assert command is not None, told.value
        words = [word.replace("NAME", "anna") for word in command[1].split()[1:]]
        made = subprocess.run(
            [sys.executable, "-m", "finetune30", *words], env=services.environment(), capture_output=True, text=True,
            timeout=600, check=True,
        )  # fmt: skip
        secret = {"Authorization": f"Bearer {made.stdout.strip()}"}
        wait_until(
            lambda: httpx.get(f"{services.api_address}/experiments").status_code == 401, 20, "the API asks for a key"
        )
        assert not [error for error in page.run().error if "Make one first" in error.value]
        assert httpx.get(f"{services.api_address}/experiments", headers=secret).status_code == 200
