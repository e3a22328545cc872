"""What is said about a Redis that does not answer is done to the letter, and it then answers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from finetune30.errors import ServiceUnavailableError
from finetune30.jobs.publishing import QueuePublisher
from finetune30.jobs.redis_server import build_redis_command, is_port_taken, is_redis_up
from finetune30.settings import load_settings
from support.patience import wait_until
from support.services import free_port, redis_program

pytestmark = pytest.mark.usefixtures("_stopped")
_started: list[int] = []


@pytest.fixture
def _stopped() -> Iterator[None]:
    """End what a test started in the background."""
    yield
    while _started:
        os.kill(_started.pop(), signal.SIGKILL)


def use(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Set both addresses, as the remedies say."""
    monkeypatch.setenv("FT30_REDIS_URL", f"redis://{address}/0")
    monkeypatch.setenv("FT30_RESULT_BACKEND_URL", f"redis://{address}/1")


def start_by_command() -> None:
    command = [sys.executable, "-m", "finetune30", "services"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert said.returncode == 0, said.stderr
    _started.append(int(said.stdout.rsplit("kill ", 1)[1]))


def refusal() -> str:
    with pytest.raises(ServiceUnavailableError) as caught:
        build_redis_command(load_settings().redis_url)
    return str(caught.value.remedy)


def test_a_redis_elsewhere_is_started_there_or_one_of_this_machine_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = free_port()
    use(monkeypatch, f"127.0.0.2:{port}")  # another address, as far as the product knows
    assert refusal() == (
        "start it there, or set FT30_REDIS_URL to redis://localhost:6379/0 and FT30_RESULT_BACKEND_URL to "
        "redis://localhost:6379/1"
    )
    there = [redis_program(), "--port", str(port), "--bind", "127.0.0.2", "--save", ""]
    with subprocess.Popen(there, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as over_there:
        wait_until(lambda: is_redis_up(load_settings().redis_url), 20, "the one over there answers")
        over_there.kill()

    monkeypatch.setenv("FT30_REDIS_URL", "redis://localhost:6379/0")
    monkeypatch.setenv("FT30_RESULT_BACKEND_URL", "redis://localhost:6379/1")
    if not is_redis_up(load_settings().redis_url):
        if is_port_taken("127.0.0.1", 6379):
            pytest.skip("port 6379 of this machine is taken by something else")
        start_by_command()
    assert is_redis_up(load_settings().redis_url)
    assert is_redis_up(load_settings().result_backend_url)


def test_a_port_that_something_else_has_is_found_or_another_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        use(monkeypatch, f"localhost:{port}")
        remedy = refusal()
        assert remedy == (
            f"find it with: lsof -i :{port}, or choose another port in FT30_REDIS_URL and FT30_RESULT_BACKEND_URL"
        )
        if shutil.which("lsof"):
            found = subprocess.run(["lsof", "-i", f":{port}"], capture_output=True, text=True, check=False).stdout
            assert re.search(rf"\b{os.getpid()}\b", found), found
        use(monkeypatch, f"localhost:{free_port()}")
        start_by_command()
        assert is_redis_up(load_settings().redis_url)


@pytest.mark.parametrize("way", ["ft30 services", "the right one"])
def test_a_queue_out_of_reach_is_started_or_the_right_one_is_named(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    use(monkeypatch, f"localhost:{free_port()}")
    with QueuePublisher(load_settings()) as publisher, pytest.raises(ServiceUnavailableError) as caught:
        publisher.publish("a" * 32)
    assert caught.value.remedy == (
        "start it with: ft30 services, or point FT30_REDIS_URL and FT30_RESULT_BACKEND_URL at the right one"
    )
    if way != "ft30 services":
        wrong = load_settings().redis_url
        use(monkeypatch, f"localhost:{free_port()}")  # where there will be one
        assert load_settings().redis_url != wrong
    start_by_command()
    with QueuePublisher(load_settings()) as publisher:
        publisher.publish("a" * 32)
        assert publisher.count_waiting() == 1
