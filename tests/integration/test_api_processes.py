"""One API, several processes: what they share, what only the first one has, and what follows when one dies."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from finetune30.store import RunFilter
from finetune30.store.access import load_audit
from support.patience import wait_until
from support.services import Services

pytestmark = pytest.mark.integration

TYPE = "application/octet-stream"
Connect = Callable[[], tuple[httpx.Client, int]]


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with contextlib.closing(Services(tmp_path, api_processes=2)) as opened:
        opened.start_api()
        opened.wait_for_api()
        wait_until(lambda: _ready(opened) == 2, 60, "both processes are ready")
        yield opened


def _ready(services: Services) -> int:
    return (services.folder / "api.log").read_text().count("Application startup complete.")


@pytest.fixture
def connect(services: Services) -> Iterator[Callable[[], tuple[httpx.Client, int]]]:
    """Return a function that gives a client of one connection, and the number of the process that it came to."""
    with contextlib.ExitStack() as opened:
        yield lambda: _connect(services, opened)


def _connect(services: Services, opened: contextlib.ExitStack) -> tuple[httpx.Client, int]:
    limits = httpx.Limits(max_connections=1)
    client = opened.enter_context(httpx.Client(base_url=services.api_address, timeout=60, limits=limits))
    client.get("/version").raise_for_status()
    return client, number_of(services, client)


def number_of(services: Services, client: httpx.Client) -> int:
    """Return which process, from 1, has the connection of a client."""
    (own,) = client._transport._pool.connections  # type: ignore[attr-defined]
    port = own._connection._network_stream.get_extra_info("client_addr")[1]
    for number, process in enumerate(services.api_processes(), 1):
        if any(one.raddr and one.raddr.port == port for one in process.net_connections()):
            return number
    raise AssertionError(f"no process has the connection from port {port}")


def test_connections_are_dealt_out_and_move_to_what_only_the_first_process_has(
    services: Services, connect: Connect
) -> None:
    opened = [connect() for _ in range(6)]
    assert sorted(number for _, number in opened) == [1, 1, 1, 2, 2, 2]
    rows = b"text,label\n" + b"a fine film,good\na dull film,bad\n" * 20_000  # longer than what is read at a time
    kept = {client.post("/datasets/files?name=a.csv", content=rows, headers={"content-type": TYPE}).text
            for client, _ in opened}  # fmt: skip
    assert len(kept) == 1
    assert '"rows":40000' in kept.pop()
    assert [number_of(services, client) for client, _ in opened] == [1] * 6
    for client, _ in opened:
        client.get("/version").raise_for_status()  # it goes on there
    body = httpx.get(f"{services.api_address}/metrics").text
    for route, count in (("/version", 12), ("/datasets/files", 6)):
        assert re.search(rf'ft30_request_seconds_count{{method="\w+",route="{route}",status="20\d"}} {count}\.0', body)


def test_a_request_in_pieces_and_requests_at_once_are_answered_as_by_one_process(services: Services) -> None:
    address = ("127.0.0.1", services.settings.api_port)
    answers = []
    for _ in range(2):  # connections are dealt out in turn: one a process
        with socket.create_connection(address, 60) as caller:
            caller.sendall(b"GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n" * 3)
            assert [_read_answer(caller)[:12] for _ in range(3)] == [b"HTTP/1.1 200"] * 3
            caller.sendall(
                b"GET /version HTTP/1.1\r\nhost: localhost\r\n\r\nGET /datasets HTTP/1.1\r\nhost: localhost\r\n\r\n"
            )
            assert _read_answer(caller).startswith(b"HTTP/1.1 200")
            answers.append(_read_answer(caller)[9:12])
            caller.sendall(b"GET /datasets HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert _read_answer(caller).startswith(b"HTTP/1.1 200")
            caller.sendall(b"nonsense\r\n\r\n")
            assert caller.recv(12) == b"HTTP/1.1 400"
    assert sorted(answers) == [b"200", b"503"]  # of another process than the first, sent before its turn
    for _ in range(2):
        with socket.create_connection(address, 60) as caller:
            for piece in (b"GE", b"T /datas", b"ets HTTP/1.1\r\nhost: localhost", b"\r\n\r\n"):
                caller.sendall(piece)
                threading.Event().wait(0.05)
            assert _read_answer(caller).startswith(b"HTTP/1.1 200")


def _read_answer(caller: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += caller.recv(1)
    head = received.lower()
    return received + caller.recv(int(re.search(rb"content-length: (\d+)", head)[1]), socket.MSG_WAITALL)  # type: ignore[index]


def test_one_that_dies_is_started_again_and_its_figures_and_the_port_stay(services: Services, connect: Connect) -> None:
    for victim in (1, 0):
        before = httpx.get(f"{services.api_address}/metrics").text
        assert {number for _, number in (connect(), connect())} == {1, 2}
        doomed, ready = services.api_processes()[victim], _ready(services)
        doomed.kill()
        wait_until(lambda: _ready(services) > ready, 60, "it is started again")  # noqa: B023 - waited for here
        answers = [httpx.get(f"{services.api_address}/datasets", timeout=60) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200] * 4
        assert _count(httpx.get(f"{services.api_address}/metrics").text) == _count(before) + 2 + 4 + 1
    log = (services.folder / "api.log").read_text()
    assert "process 2 of the API was ended by SIGKILL; starting it again in 1 s" in log


def _count(metrics: str) -> int:
    return int(sum(float(one) for one in re.findall(r"ft30_request_seconds_count{.*} (\S+)", metrics)))


def test_all_end_with_it_and_what_was_begun_is_answered(services: Services) -> None:
    accepted: list[httpx.Response] = []

    def submit(number: int) -> None:
        body = {"experiment_name": f"last-{number}", "epochs": 1}
        accepted.append(httpx.post(f"{services.api_address}/train", json=body, timeout=60))

    senders = [threading.Thread(target=submit, args=(number,)) for number in range(6)]
    for sender in senders:
        sender.start()
    wait_until(lambda: len(load_audit(services.store)) == 6, 60, "all are begun")
    assert services.api is not None
    processes = services.api_processes()
    services.api.send_signal(signal.SIGTERM)
    for sender in senders:
        sender.join()
    assert services.api.wait(60) == 0
    assert [answer.status_code for answer in accepted] == [202] * 6
    assert len(services.store.find(RunFilter())) == 6
    assert not any(process.is_running() for process in processes)

    services.start_api()
    services.wait_for_api()
    wait_until(lambda: len(services.api_processes()) == 2, 60, "both are started")
    processes = services.api_processes()
    services.kill_api()
    _, living = psutil.wait_procs(processes, timeout=60)
    assert not living


def test_one_that_cannot_start_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    with contextlib.closing(Services(tmp_path, api_processes=2)) as services:
        services.start_api(FT30_FAILPOINT="api.before_ready:1")
        assert services.api is not None
        assert services.api.wait(60) == 1
        log = (tmp_path / "api.log").read_text()
    assert re.search(r"process [12] of the API was ended by SIGKILL as it started", log)
    assert "FT30_API_PROCESSES=1 serves without further processes" in log
    with contextlib.closing(Services(tmp_path, api_processes=1)) as services:
        services.start_api(FT30_FAILPOINT="api.before_ready:1")
        services.wait_for_api()
