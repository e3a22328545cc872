"""Files as questions at the route: read as the training of a run read its files, and nothing of them kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from finetune30.service.datasets.reading_process import Readings
from finetune30.service.datasets.uploads import FileUpload, remove_abandoned
from finetune30.store import RunStore

BINARY = {"Content-Type": "application/octet-stream"}
CHINESE = "房間又小又髒，服務人員態度很差，完全不推薦大家來住"


@pytest.fixture
def run_of_pairs(submit: Callable[..., str], finish: Callable[..., None]) -> str:
    """A finished run whose published model says that it read pairs."""
    run_id = submit()
    reading = {"columns": {"text": "premise", "text_pair": "hypothesis"}, "marks_are_text": True, "allow_empty": False}
    described = {"problem_type": "single_label_classification", "reading": reading}
    files = {"artifacts/final_model/labels.json": json.dumps(described).encode()}
    finish(run_id, files, problem_type="single_label_classification")
    return run_id


def send(api: TestClient, run_id: str, name: str, content: bytes, **params: str) -> dict[str, object]:
    answer = api.post(
        "/datasets/questions", params={"experiment_id": run_id, "name": name, **params}, content=content, headers=BINARY
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


def test_a_table_is_read_from_the_columns_of_the_training(api: TestClient, run_of_pairs: str) -> None:
    found = send(api, run_of_pairs, "new.csv", b"id,hypothesis,premise\n007,b,a\n008,,c\n")
    assert found["questions"] == [
        {"row_id": "new.csv:2", "text": "a", "text_pair": "b", "columns": {"id": "007"}},
        {"row_id": "new.csv:3", "text": "c", "text_pair": "", "columns": {"id": "008"}},
    ]
    assert (found["rows"], found["reads_pairs"], found["notes"]) == (2, True, [])
    assert (found["columns"], found["read"]) == (
        ["id", "hypothesis", "premise"],
        {"text": "premise", "text_pair": "hypothesis"},
    )
    assert [path for path in Path("data_store").rglob("*") if path.is_file()] == []


def test_columns_may_be_named_and_rows_limited(api: TestClient, run_of_pairs: str) -> None:
    found = send(api, run_of_pairs, "new.csv", b"x,y\na,b\nc,d\n", text_column="y", text_pair_column="x", limit="1")
    assert [(q["text"], q["text_pair"]) for q in found["questions"]] == [("b", "a")]  # type: ignore[attr-defined]
    assert found["rows"] == 2


def test_lines_of_a_text_are_decoded_as_files_are(api: TestClient, run_of_pairs: str) -> None:
    found = send(api, run_of_pairs, "asked.txt", f"{CHINESE}\r\n\r\nfine".encode("big5"))
    assert [q["text"] for q in found["questions"]] == [CHINESE, "", "fine"]  # type: ignore[attr-defined]
    assert "read as cp950" in str(found["notes"])


def test_what_cannot_be_read_is_refused_by_place(api: TestClient, run_of_pairs: str) -> None:
    params = {"experiment_id": run_of_pairs, "name": "new.csv"}
    refused = api.post("/datasets/questions", params=params, content=b"premise,hypothesis\na\n", headers=BINARY)
    assert (refused.status_code, refused.json()["message"].startswith("new.csv:2")) == (422, True)
    for name in ("x.exe", "../x.csv", "x.c\0sv", ".csv"):
        odd = api.post("/datasets/questions", params={**params, "name": name}, content=b"a\n", headers=BINARY)
        assert odd.status_code == 400, name
    unknown = api.post("/datasets/questions", params={**params, "encoding": "cp12"}, content=b"a\n", headers=BINARY)
    assert unknown.status_code == 400
    no_run = api.post(
        "/datasets/questions", params={**params, "experiment_id": "0" * 32}, content=b"a\n", headers=BINARY
    )
    assert no_run.status_code == 404


def test_a_run_without_a_model_is_asked_nothing(api: TestClient, submit: Callable[..., str]) -> None:
    params = {"experiment_id": submit(), "name": "new.txt"}
    answer = api.post("/datasets/questions", params=params, content=b"a\n", headers=BINARY)
    assert (answer.status_code, answer.json()["error"]) == (409, "conflict")


def test_the_store_is_asked_outside_of_the_event_loop(
    api: TestClient, run_of_pairs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    get, inside = RunStore.get, []

    def watched(store: RunStore, run: str) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            inside.append(False)
        else:
            inside.append(True)
        return get(store, run)

    monkeypatch.setattr(RunStore, "get", watched)
    send(api, run_of_pairs, "new.csv", b"premise,hypothesis\na,b\n")
    assert inside
    assert not any(inside)


def test_a_file_waits_below_the_data_folder_for_its_reader(
    api: TestClient, run_of_pairs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, waiting = Readings.ask, []

    def watched(readings: Readings, *args: str, **asked: Any) -> dict[str, Any]:
        path = Path(asked["path"])
        waiting.append((path.parent, path.read_bytes(), remove_abandoned(Path("data_store"))))
        return ask(readings, *args, **asked)

    monkeypatch.setattr(Readings, "ask", watched)
    send(api, run_of_pairs, "new.csv", b"premise,hypothesis\na,b\n")
    assert waiting == [(Path("data_store/uploads"), b"premise,hypothesis\na,b\n", 0)]


def test_what_a_killed_process_left_of_a_file_is_removed() -> None:
    left = FileUpload(Path("data_store"), "new.txt", (".txt",)).__enter__()
    left.write(b"a")
    left._file.close()  # as the system closes the files of a killed process
    assert remove_abandoned(Path("data_store")) == 1
    assert list(Path("data_store/uploads").iterdir()) == []


def test_a_file_is_refused_where_it_would_touch_the_reserve(
    api: TestClient, run_of_pairs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = api.app.state.services  # type: ignore[attr-defined]
    full = services.settings.model_copy(update={"disk_reserve_bytes": 1 << 50})
    monkeypatch.setattr(api.app.state, "services", replace(services, settings=full))  # type: ignore[attr-defined]
    params = {"experiment_id": run_of_pairs, "name": "new.csv"}
    answer = api.post("/datasets/questions", params=params, content=b"premise,hypothesis\na,b\n", headers=BINARY)
    assert answer.status_code == 507


def test_a_reader_that_cannot_start_is_no_fault_of_the_disk(
    api: TestClient, run_of_pairs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more_processes(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("finetune30.service.datasets.reading_process._start", no_more_processes)
    params = {"experiment_id": run_of_pairs, "name": "new.csv"}
    answer = api.post("/datasets/questions", params=params, content=b"premise,hypothesis\na,b\n", headers=BINARY)
    assert answer.status_code == 500
    assert "disk" not in answer.text
