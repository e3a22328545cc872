"""Files as questions at the route: read as the training of a run read its files, and nothing of them kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

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
