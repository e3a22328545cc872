"""Bodies and files that mean harm: refused with words that arrive, and nobody else waits for them."""

from __future__ import annotations

import fcntl
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from finetune30.api.application import build_app
from finetune30.api.server import open_listener
from support.api_thread import serve
from support.patience import patient
from unit.api.conftest import Recorder, build_settings

BINARY = {"Content-Type": "application/octet-stream"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def port() -> Iterator[int]:
    """A real server with small limits; connections can only be reset by one."""
    settings = build_settings(max_body_bytes=1 << 16, max_upload_bytes=1 << 20)
    settings = settings.model_copy(update={"api_port": 0})  # any that is free
    listener = open_listener(settings)
    with serve(build_app(settings, publisher=Recorder()), listener):
        yield listener.getsockname()[1]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/train", JSON, 413, "too_large"),
        ("/datasets/files?name=x.csv", BINARY, 413, "too_large"),
        ("/datasets/files?name=x.csv", {"Content-Type": "text/csv"}, 415, "media_type_refused"),
    ],
)
def test_refusal_of_a_large_body_arrives(
    port: int, path: str, headers: dict[str, str], status: int, code: str, chunked: bool
) -> None:
    pieces = [b"x" * (1 << 20)] * 16
    connection = http.client.HTTPConnection("localhost", port, timeout=patient(30))
    size = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(16 << 20)}
    once = {"Connection": "close"}  # as urllib says; the server then closes as soon as it has answered
    connection.request("POST", path, iter(pieces), {**headers, **size, **once}, encode_chunked=chunked)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["error"]) == (status, code)
    connection.close()


@pytest.mark.parametrize("path", ["/train", "/config/validate", "/datasets/preview", "/datasets"])
@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000 + "]" * 100_000,
        '{"config": ' * 5_000 + "1" + "}" * 5_000,
        '{"seed": ' + "9" * 5_000 + "}",
        '{"seed": 1e999}',
        '{"seed": NaN}',
        r'{"experiment_name": "\ud800"}',
        r'{"config": {"data": {"text_column": "\ud800"}}}',
        r'{"config": {"\ud800": "\u0000"}}',
    ],
)
def test_bodies_that_no_reader_expects_are_faults_of_the_request(api: TestClient, path: str, body: str) -> None:
    answer = api.post(path, content=body.encode(), headers=JSON)
    assert answer.status_code in (400, 422), answer.text
    assert {"error", "message", "remedy"} <= answer.json().keys()


@pytest.mark.parametrize("ending", ["json", "jsonl"])
@pytest.mark.parametrize("cell", ["[" * 200_000 + "]" * 200_000, "9" * 5_000])
def test_files_that_no_reader_expects_are_faults_of_the_file(api: TestClient, cell: str, ending: str) -> None:
    record = f'{{"text": {cell}, "label": 1}}'
    content = f"[{record}]" if ending == "json" else record
    answer = api.post(f"/datasets/files?name=mine.{ending}", content=content.encode(), headers=BINARY)
    assert answer.status_code == 422, answer.text
    assert "mine" in answer.json()["message"]
    assert [path for path in Path("data_store").rglob("*") if path.is_file()] == []


def test_file_with_too_many_columns_is_refused(api: TestClient) -> None:
    content = ",".join(f"c{number}" for number in range(1001)) + "\n" + "1," * 1000 + "1\n"
    answer = api.post("/datasets/files?name=wide.csv", content=content.encode(), headers=BINARY)
    assert (answer.status_code, "1,001 columns" in answer.json()["message"]) == (422, True), answer.text


def test_file_that_takes_too_long_is_refused_and_nobody_waits_for_it(start: Callable[..., TestClient]) -> None:
    api = start(read_seconds=3)
    rows = b"".join(b'{"text": "%d", "label": "%d"}\n' % (number, number) for number in range(1_500_000))
    answers: list[Any] = []

    def send() -> None:
        answers.append(api.post("/datasets/files?name=slow.jsonl", content=rows, headers=BINARY))

    sending = [threading.Thread(target=send) for _ in range(4)]
    for thread in sending:
        thread.start()
    waits = []
    while any(thread.is_alive() for thread in sending):
        asked = time.monotonic()
        assert api.get("/healthz").status_code == 200
        waits.append(time.monotonic() - asked)
        time.sleep(0.05)
    assert sorted(waits)[len(waits) // 2] < patient(0.25), waits
    assert {answer.status_code for answer in answers} <= {201, 422}
    refused = [answer.json() for answer in answers if answer.status_code == 422]
    assert all("cannot be read within 3 s" in shape["message"] for shape in refused)


def test_what_killed_uploads_left_is_removed_at_the_start_and_what_goes_on_is_not(
    start: Callable[..., TestClient],
) -> None:
    folder = Path("data_store/uploads")
    (folder / "0123456789abcdef").mkdir(parents=True)
    for name in (".left.tmp", ".left.jsonl", ".going-on.tmp", "0123456789abcdef/kept.csv"):
        (folder / name).write_bytes(b"text,label\n")
    with (folder / ".going-on.tmp").open("ab") as going_on:
        fcntl.flock(going_on, fcntl.LOCK_EX)
        start()
    left = sorted(path.name for path in folder.rglob("*") if path.is_file())
    assert left == [".going-on.tmp", "kept.csv"]
