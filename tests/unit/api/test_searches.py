"""Searches over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

RATE = {"training.learning_rate": {"low": 1e-5, "high": 1e-3, "scale": "log"}}


def make(api: TestClient, code: int = 202, **search: Any) -> dict[str, Any]:
    body = {"preset": "quick_cpu", "experiment_name": "sought"}
    answer = api.post("/searches", json={**body, "search": {"trials": 3, "parameters": RATE, **search}})
    assert answer.status_code == code, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_search_is_made_once_with_its_first_trials_stopped_resumed_and_deleted(api: TestClient) -> None:
    made = make(api)
    assert any("evaluation rows tell" in line for line in made["said"])
    assert [(trial["number"], trial["state"], trial["run_status"]) for trial in made["trials"]] == [
        (number, "OPEN", "QUEUED") for number in range(3)
    ]
    assert (made["status"], made["metric"], made["greater_is_better"]) == ("RUNNING", "eval_accuracy", True)
    again = make(api)
    assert (again["id"], again["trials"]) == (made["id"], made["trials"])
    assert [(one["id"], one["counts"]) for one in api.get("/searches").json()] == [(made["id"], {"OPEN": 3})]
    path = f"/searches/{made['id']}"
    assert api.get(f"{path}/luck").json()["reason"] == "trial 0 has no value yet"
    run = api.get(f"/experiments/{made['trials'][1]['run_id']}").json()
    assert run["config"]["training"]["learning_rate"] == made["trials"][1]["parameters"]["training.learning_rate"]
    assert run["config"]["data"]["dataset_name"] == f"version:{made['dataset_digest']}"
    assert api.delete(f"/experiments/{run['id']}").status_code == 409
    assert api.delete(path).status_code == 409, "it goes on"
    refused = api.post(f"{path}/test")
    assert (refused.status_code, "has not judged its best trial yet" in refused.text) == (409, True)
    stopped = api.post(f"{path}/stop", json={"now": True}).json()
    assert {trial["run_status"] for trial in stopped["trials"]} == {"CANCELLED"}
    assert api.post(f"{path}/stop", json={}).status_code == 409
    assert api.post(f"{path}/resume", json={"trials": 2}).status_code == 400
    resumed = api.post(f"{path}/resume", json={"trials": 5}).json()
    assert (resumed["status"], resumed["planned"]) == ("RUNNING", 5)
    assert {trial["run_status"] for trial in resumed["trials"]} == {"QUEUED"}
    api.post(f"{path}/stop", json={"now": True})
    assert api.delete(path).json() == {"deleted": made["id"], "kept": []}
    assert api.get(path).status_code == 404
    assert api.get("/experiments").json()["experiments"] == []


def test_faults_of_the_section_are_listed_and_room_is_asked_for(start: Callable[..., TestClient]) -> None:
    api = start(max_open_runs=2)
    faults = make(api, 422, parameters={"lora.r": {"values": [0]}, "lora.x": {"values": [1]}})["details"]["faults"]
    assert [fault["key"] for fault in faults] == ["search.parameters.lora.r.values", "search.parameters.lora.x"]
    assert make(api, 429)["error"] == "quota_exceeded"
    assert api.get("/searches").json() == []
