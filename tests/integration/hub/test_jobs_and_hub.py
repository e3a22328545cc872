"""Runs of the queue that need the hub: the worker's attempt fetches, the API looks without fetching more than asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from finetune30.store import RunStatus
from support.patience import wait_until
from support.services import Services
from support.stand_in_hub import StandInHub, faults

pytestmark = pytest.mark.integration

SMALL = {"experiment_name": "from_the_hub", "train_samples": 32, "epochs": 1}


class Lab:
    """Redis, API and hub; a worker when a test starts one."""

    def __init__(self, folder: Path, hub: StandInHub, **settings: Any) -> None:
        self.hub = hub
        self.variables: dict[str, Any] = dict(hub.variables(folder / "home"))
        self.services = Services(folder, **settings)
        self.services.start_redis()
        self.services.start_api(**self.variables)
        self.services.wait_for_api()

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return httpx.post(f"{self.services.api_address}{path}", json=body, timeout=600)

    def submit(self, body: dict[str, Any]) -> str:
        answer = self.post("/train", body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["task_id"])

    def task(self, task_id: str) -> dict[str, Any]:
        return dict(httpx.get(f"{self.services.api_address}/task/{task_id}", timeout=600).json())

    def start_worker(self) -> None:
        self.services.start_worker(drill=None, **self.variables)


@pytest.fixture
def lab(hub: StandInHub, tmp_path: Path) -> Iterator[Lab]:
    built = Lab(tmp_path, hub)
    yield built
    built.services.close()


def asked(hub: StandInHub) -> set[tuple[str, str]]:
    return {(str(request.kind), request.file) for request in hub.requests if request.action in ("resolve", "cdn")}


def test_a_look_fetches_the_rows_and_the_attempt_fetches_the_rest_with_progress(lab, hub):
    assert lab.post("/config/validate", SMALL).status_code == 200
    estimate = lab.post("/config/estimate", SMALL).json()
    assert estimate["steps"] == 16
    waiting = lab.submit(SMALL)
    assert asked(hub) == set()

    seen = lab.post("/datasets/preview", SMALL).json()
    assert seen["label_names"] == ["negative", "positive"]
    assert seen["columns"]["available"] == ["sentence", "label", "idx"]
    assert {kind for kind, _ in asked(hub)} == {"datasets"}
    assert {file.partition("/")[0] for _, file in asked(hub)} == {"README.md", "sst2"}

    hub.fail(faults.Trickle(part_bytes=20_000, pause_seconds=0.7), file="model.safetensors")
    lab.start_worker()
    stages: list[dict[str, Any]] = []

    def ended() -> bool:
        task = lab.task(waiting)
        if (progress := task["progress"]) and progress.get("stage") == "fetching":
            stages.append(progress)
        return task["status"] in ("SUCCEEDED", "FAILED")

    wait_until(ended, 120, "the run ends")
    assert lab.task(waiting)["status"] == "SUCCEEDED"
    assert lab.task(waiting)["result"]["replaced"] == {}
    assert stages
    assert stages[-1]["name"] == "distilbert/distilbert-base-uncased"
    assert 0 < stages[-1]["done_bytes"] <= stages[-1]["total_bytes"]
    assert lab.post("/config/estimate", SMALL).json()["total_parameters"] > 0


def test_a_slow_download_is_no_standstill_and_one_that_stands_still_ends(hub, tmp_path):
    built = Lab(tmp_path, hub, no_progress_seconds=30.0)  # a slow machine imports PyTorch for that long
    try:
        hub.fail(faults.Trickle(part_bytes=8_000, pause_seconds=2.0), file="model.safetensors")  # 35 s for 140 kB
        slow = built.submit(SMALL)
        built.start_worker()
        assert built.services.wait_for(slow, RunStatus.SUCCEEDED, RunStatus.FAILED, seconds=150).status == "SUCCEEDED"
    finally:
        built.services.close()


def test_cancelling_ends_a_download(lab, hub):
    hub.fail(faults.Trickle(part_bytes=1_000, pause_seconds=0.5), file="model.safetensors")
    task = lab.submit(SMALL)
    lab.start_worker()
    wait_until(lambda: (lab.task(task)["progress"] or {}).get("stage") == "fetching", 60, "it fetches")
    assert httpx.post(f"{lab.services.api_address}/task/{task}/cancel", timeout=600).status_code == 200
    run = lab.services.wait_for(task, RunStatus.CANCELLED, RunStatus.FAILED, RunStatus.SUCCEEDED)
    assert run.status == "CANCELLED"


@pytest.mark.parametrize(
    ("fault", "code", "retries"),
    [
        (faults.repository_missing(), "hub_not_found", False),
        (faults.CaptivePage(), "hub_fault", True),
        (faults.unauthorized(), "hub_access_denied", False),
    ],
)
def test_a_fault_of_the_hub_is_told_by_its_kind_and_never_turns_into_the_starter(lab, hub, fault, code, retries):
    hub.fail(fault)
    preview = lab.post("/datasets/preview", SMALL)
    assert (preview.status_code, preview.json()["error"]) == (502 if retries else 422, code)
    task = lab.submit(SMALL)
    lab.start_worker()
    lab.services.wait_for(task, RunStatus.FAILED, RunStatus.SUCCEEDED, seconds=120)
    told = lab.task(task)
    assert told["status"] == "FAILED"
    assert (told["error"]["error"], told["error"]["retry_may_help"]) == (code, retries)
    assert told["error"]["remedy"]
    hub.mend()
    assert httpx.post(f"{lab.services.api_address}/task/{task}/retry", timeout=600).status_code in (200, 202)
    lab.services.wait_for(task, RunStatus.SUCCEEDED, seconds=120)


def test_a_look_at_a_set_beyond_the_limit_is_refused_before_its_first_byte(hub, tmp_path):
    built = Lab(tmp_path, hub, max_fetch_bytes=5_000)
    try:
        for path in ("/datasets/preview", "/datasets"):
            answer = built.post(path, {"dataset": "imdb"})
            assert answer.status_code == 413, answer.text
            assert "FT30_MAX_FETCH_BYTES" in answer.json()["remedy"]
        assert {file for _, file in asked(hub)} <= {"README.md"}
    finally:
        built.services.close()


def test_a_request_may_not_name_what_the_library_would_read_from_the_servers_folder(lab, hub):
    (lab.services.folder / "secret.txt").write_text("text,label\nsecret,1\nsecret,0\n")
    for name in ("text", "csv", "json", "parquet", "arrow", "imagefolder", "webdataset"):
        answer = lab.post("/datasets/preview", {"dataset": name, "num_labels": 2})
        assert answer.status_code == 422
        assert "secret" not in answer.text
        assert answer.json()["error"] == "hub_not_found"
    for revision in ("../../etc", "/dev/zero", ".."):
        answer = lab.post("/datasets/preview", {"config": {"data": {"revision": revision}}})
        assert (answer.status_code, answer.json()["error"]) == (422, "config_error")
    answer = lab.post("/train", {"config": {"training": {"start_adapter": "/somebody/adapter"}}})
    assert (answer.status_code, answer.json()["error"]) == (422, "config_error")
