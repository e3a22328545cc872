"""What the API says to do about its limits and folders is done to the letter, and the request is then taken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from finetune30.settings import load_settings

ROWS = "text,label\n" + "".join(f"this is text number {n},{n % 2}\n" for n in range(30))


def store_of(api: TestClient) -> Any:
    app: Any = api.app
    return app.state.services.store


def wait_for_an_end(api: TestClient, run_id: str) -> None:
    store = store_of(api)
    store.fail(store.claim(run_id, lease_seconds=60), {"error": "data_error", "message": "", "remedy": ""})


def cancel(api: TestClient, run_id: str) -> None:
    assert api.post(f"/task/{run_id}/cancel").status_code == 200


@pytest.mark.parametrize("way", [wait_for_an_end, cancel])
def test_there_is_room_after_a_run_ended_or_was_cancelled(start: Callable[..., TestClient], way: Any) -> None:
    api = start(max_open_runs=1)
    first = api.post("/train", json={}).json()["task_id"]
    refused = api.post("/train", json={})
    assert refused.status_code == 429
    assert refused.json()["remedy"] == "wait until some have ended, cancel some, or raise FT30_MAX_OPEN_RUNS"
    way(api, first)
    assert api.post("/train", json={}).status_code == 202
    assert api.post("/train", json={}).status_code == 429


def test_there_is_room_after_the_number_of_open_runs_was_raised(
    start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = start(max_open_runs=1)
    assert [first.post("/train", json={}).status_code for _ in range(2)] == [202, 429]
    monkeypatch.setenv("FT30_MAX_OPEN_RUNS", "2")
    api = start(max_open_runs=load_settings().max_open_runs)
    assert [api.post("/train", json={}).status_code for _ in range(2)] == [202, 429]


def test_there_is_room_on_the_disk_after_a_run_was_deleted_or_less_is_kept(
    start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A disk of 1 MB that holds the results and nothing else: no test may fill a real one.
    def look(_: object) -> SimpleNamespace:
        used = sum(path.stat().st_size for path in Path("results").rglob("weights"))
        return SimpleNamespace(free=1_000_000 - used)

    monkeypatch.setattr(shutil, "disk_usage", look)
    api = start(disk_reserve_bytes=500_000)
    run = store_of(api).get(api.post("/train", json={}).json()["task_id"])
    (Path("results") / run.folder / "weights").write_bytes(bytes(600_000))
    refused = api.post("/train", json={})
    assert refused.status_code == 507
    assert refused.json()["remedy"] == "delete runs that are not needed, or lower FT30_DISK_RESERVE_BYTES"
    monkeypatch.setenv("FT30_DISK_RESERVE_BYTES", "300000")
    assert start(disk_reserve_bytes=load_settings().disk_reserve_bytes).post("/train", json={}).status_code == 202
    assert api.post("/train", json={}).status_code == 507
    cancel(api, run.id)
    assert api.delete(f"/experiments/{run.id}").status_code == 204
    assert api.post("/train", json={}).status_code == 202


def fault_of(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 422, answer.text
    (fault,) = answer.json()["details"]["faults"]
    return dict(fault)


def test_a_results_folder_is_left_out_or_set_for_the_services(
    start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"config": {"training": {"output_dir": "elsewhere"}}}
    hint = fault_of(start().post("/train", json=body))["hint"]
    assert hint == "leave output_dir out; FT30_RESULTS_FOLDER of API and workers decides"
    assert start().post("/train", json={}).status_code == 202
    monkeypatch.setenv("FT30_RESULTS_FOLDER", "elsewhere")
    api = start(results_folder=load_settings().results_folder)
    run = store_of(api).get(api.post("/train", json=body).json()["task_id"])
    assert (Path("elsewhere") / run.folder).is_dir()


@pytest.mark.parametrize("way", ["FT30_ALLOWED_FOLDERS", "upload"])
def test_a_file_that_may_not_be_named_lies_in_a_named_folder_or_is_uploaded(
    start: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    path = tmp_path / "mine" / "rows.csv"
    path.parent.mkdir()
    path.write_text(ROWS)
    hint = fault_of(start().post("/train", json={"dataset": str(path)}))["hint"]
    assert hint == "allowed: data (FT30_ALLOWED_FOLDERS), or upload the file"
    if way == "upload":
        api = start()
        headers = {"Content-Type": "application/octet-stream"}
        sent = api.post("/datasets/files?name=rows.csv", content=ROWS.encode(), headers=headers).json()
        dataset = sent["dataset_name"]
    else:
        monkeypatch.setenv("FT30_ALLOWED_FOLDERS", str(path.parent))
        api, dataset = start(allowed_folders=load_settings().allowed_folders), str(path)
    assert api.post("/train", json={"dataset": dataset}).status_code == 202
    shown = api.post("/datasets/preview", json={"dataset": dataset}).json()
    assert shown["columns"]["available"] == ["text", "label"]
