"""Editing runs over HTTP, one and many: who may, what is refused, what the trail says."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from finetune30.api.routes.run_edits import BulkAnswer
from finetune30.api.run_schemas import Experiment
from finetune30.store.access import Role, create_key, load_audit

Submit = Callable[..., str]
Finish = Callable[..., None]


def store_of(api: TestClient) -> Any:
    app: Any = api.app
    return app.state.services.store


def bulk(api: TestClient, action: str, *ids: str, **marks: Any) -> dict[str, Any]:
    answer = api.post("/experiments/bulk", json={"action": action, "ids": list(ids), **marks})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found.keys() == BulkAnswer.model_fields.keys()
    return found


def outcomes(answer: dict[str, Any]) -> list[str]:
    return [run["outcome"] for run in answer["runs"]]


def test_a_run_is_renamed_marked_and_found_by_it(api: TestClient, submit: Submit) -> None:
    run_id = submit("ordinary")
    folder = api.get(f"/experiments/{run_id}").json()["folder"]
    body = {
        "name": "best of May",
        "note": " for the report ",
        "tags": ["zh", " baseline "],
        "starred": True,
        "edits": 0,
    }
    answer = api.patch(f"/experiments/{run_id}", json={**body, "edits": 0})
    assert answer.status_code == 200
    edited = answer.json()
    assert Experiment.model_fields.keys() <= edited.keys()
    assert (edited["name"], edited["note"], edited["tags"], edited["starred"], edited["edits"]) == (
        "best of May",
        "for the report",
        ["zh", "baseline"],
        True,
        1,
    )
    details = api.get(f"/experiments/{run_id}").json()
    assert (details["folder"], details["config"]["experiment_name"]) == (folder, "ordinary")

    def names(query: str) -> list[str]:
        return [run["name"] for run in api.get(f"/experiments?{query}").json()["experiments"]]

    submit("another")
    assert names("tag=zh&tag=baseline") == names("starred=true") == names("name=MAY") == ["best of May"]
    assert names("tag=zh&tag=absent") == []
    assert names("starred=false") == ["another"]
    assert api.get("/experiments/stats").json()["tags"] == {"baseline": 1, "zh": 1}


def test_archived_runs_are_listed_when_asked_for_only(api: TestClient, submit: Submit) -> None:
    hidden, shown = submit("hidden"), submit("shown")
    api.patch(f"/experiments/{hidden}", json={"archived": True})

    def ids(query: str = "") -> list[str]:
        return [run["id"] for run in api.get(f"/experiments?{query}").json()["experiments"]]

    assert ids() == [shown]
    assert ids("archived=only") == [hidden]
    assert ids("archived=all") == [shown, hidden]
    assert api.get("/experiments?with_total=true").json()["total"] == 1
    assert api.get("/experiments/stats").json()["archived"] == 1
    assert api.get("/experiments?archived=maybe").status_code == 422


def test_an_edit_of_a_state_that_is_gone_is_a_conflict(api: TestClient, submit: Submit) -> None:
    run_id = submit()
    assert api.patch(f"/experiments/{run_id}", json={"note": "mine", "edits": 0}).status_code == 200
    refused = api.patch(f"/experiments/{run_id}", json={"note": "yours", "edits": 0})
    assert (refused.status_code, refused.json()["error"]) == (409, "conflict")
    assert api.get(f"/experiments/{run_id}").json()["note"] == "mine"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "no/slash"}, 422),
        ({"name": ""}, 422),
        ({"name": "x" * 81}, 422),
        ({"tags": ["a,b"]}, 400),
        ({"tags": [" "]}, 400),
        ({"tags": ["two\nlines"]}, 400),
        ({"tags": ["x" * 33]}, 400),
        ({"tags": [f"t{n}" for n in range(11)]}, 422),
        ({"note": "x" * 4001}, 422),
        ({"note": "nul \0"}, 422),
        ({"note": "half \ud800"}, 422),
        ({"starred": "often"}, 422),
        ({"status": "SUCCEEDED"}, 422),
        ({"folder": "elsewhere"}, 422),
        ({"edits": -1}, 422),
    ],
)
def test_what_cannot_be_written_is_refused_in_the_one_shape(
    api: TestClient, submit: Submit, body: dict[str, Any], status: int
) -> None:
    import json

    run_id = submit()
    headers = {"content-type": "application/json"}
    answer = api.patch(f"/experiments/{run_id}", content=json.dumps(body), headers=headers)
    assert answer.status_code == status, answer.text
    assert {"error", "message", "remedy"} <= answer.json().keys()
    assert api.get(f"/experiments/{run_id}").json()["edits"] == 0


def test_many_are_marked_and_asking_again_changes_nothing(api: TestClient, submit: Submit) -> None:
    ids = [submit(f"run {n}") for n in range(3)]
    first = bulk(api, "edit", *ids, add_tags=["sweep"], starred=True)
    assert (first["done"], first["unchanged"], first["refused"]) == (3, 0, 0)
    assert outcomes(bulk(api, "edit", *ids, add_tags=["sweep"], starred=True)) == ["unchanged"] * 3
    assert outcomes(bulk(api, "edit", ids[0], remove_tags=["sweep"])) == ["done"]
    assert len(api.get("/experiments?tag=sweep").json()["experiments"]) == 2


def test_many_are_cancelled_each_by_its_state(api: TestClient, submit: Submit, finish: Finish) -> None:
    waiting, running, done = submit("waiting"), submit("running"), submit("done")
    store_of(api).claim(running, lease_seconds=60)
    finish(done)
    answer = bulk(api, "cancel", waiting, running, done, "0" * 32)
    assert outcomes(answer) == ["done", "done", "refused", "refused"]
    assert [run["status"] for run in answer["runs"]] == ["CANCELLED", "RUNNING", "SUCCEEDED", None]
    assert [run["error"] and run["error"]["error"] for run in answer["runs"]] == [None, None, "conflict", "not_found"]
    assert store_of(api).get(running).cancel_requested
    assert outcomes(bulk(api, "cancel", waiting, running)) == ["unchanged", "unchanged"]


def test_many_are_deleted_but_running_ones_and_asking_again_does_no_harm(
    api: TestClient, submit: Submit, finish: Finish, tmp_path: Any
) -> None:
    done, running = submit("done"), submit("running")
    finish(done)
    folder = tmp_path / "results" / api.get(f"/experiments/{done}").json()["folder"]
    store_of(api).claim(running, lease_seconds=60)
    answer = bulk(api, "delete", done, running)
    assert outcomes(answer) == ["done", "refused"]
    assert "is RUNNING and cannot be deleted" in answer["runs"][1]["error"]["message"]
    assert not folder.exists()
    again = bulk(api, "delete", done, running, "0" * 32)
    assert outcomes(again) == ["unchanged", "refused", "refused"]  # the last was never here
    assert api.get(f"/experiments/{running}").status_code == 200


def test_a_run_that_a_worker_takes_meanwhile_is_deleted_or_refused_never_half(api: TestClient, submit: Submit) -> None:
    store, ids = store_of(api), [submit(f"run {n}") for n in range(12)]
    claims: list[Any] = []

    def work() -> None:
        claims.extend(claim for run_id in reversed(ids) if (claim := store.claim(run_id, lease_seconds=60)))

    worker = threading.Thread(target=work)
    worker.start()
    answer = bulk(api, "delete", *ids)
    worker.join()
    claimed = {claim.run_id for claim in claims}
    for run in answer["runs"]:
        assert (run["outcome"] == "refused") == (run["id"] in claimed), run
        assert api.get(f"/experiments/{run['id']}").status_code == (200 if run["id"] in claimed else 404)


@pytest.mark.parametrize(
    "body",
    [
        {"action": "edit", "ids": ["0" * 32]},
        {"action": "delete", "ids": ["0" * 32], "starred": True},
        {"action": "delete", "ids": []},
        {"action": "delete", "ids": ["latest"]},
        {"action": "delete", "ids": ["0" * 12]},
        {"action": "retry", "ids": ["0" * 32]},
        {"action": "cancel", "ids": ["0" * 32] * 501},
    ],
)
def test_what_cannot_be_done_to_many_is_refused_as_a_whole(api: TestClient, body: dict[str, Any]) -> None:
    assert api.post("/experiments/bulk", json=body).status_code == 422


def test_submitters_change_their_own_runs_and_the_trail_names_each(start: Callable[..., TestClient]) -> None:
    store = store_of(start())
    keys = {name: create_key(store, name, role)[1] for name, role in (("anna", Role.SUBMITTER), ("ben", Role.VIEWER))}
    keys["root"] = create_key(store, "root", Role.ADMIN)[1]
    api = start()  # knows the keys from its start on

    def as_(name: str) -> dict[str, str]:
        return {"X-API-Key": keys[name]}

    ids = [api.post("/train", json={}, headers=as_(name)).json()["task_id"] for name in ("anna", "root")]
    assert api.patch(f"/experiments/{ids[0]}", json={"starred": True}, headers=as_("ben")).status_code == 403
    assert api.patch(f"/experiments/{ids[0]}", json={"starred": True}, headers=as_("anna")).status_code == 200
    assert api.patch(f"/experiments/{ids[1]}", json={"starred": True}, headers=as_("anna")).status_code == 403
    body = {"action": "edit", "ids": ids, "add_tags": ["x"]}
    assert api.post("/experiments/bulk", json=body, headers=as_("ben")).status_code == 403
    answer = api.post("/experiments/bulk", json=body, headers=as_("anna")).json()
    assert outcomes(answer) == ["done", "refused"]
    assert answer["runs"][1]["error"]["error"] == "access_denied"
    trail = {(entry.actor, entry.action, entry.target, entry.outcome) for entry in load_audit(store)}
    assert {
        ("anna", "PATCH /experiments/{experiment_id}", ids[0], 200),
        ("anna", "POST /experiments/bulk edit", ids[0], 200),
        ("anna", "POST /experiments/bulk edit", ids[1], 403),
        ("anna", "POST /experiments/bulk", "edit 2 runs", 200),
    } <= trail
    (event,) = [event for event in store.events(ids[0]) if event.detail and "tags" in event.detail.get("changed", {})]
    assert event.detail["by"] == "anna"


def test_a_listing_tells_what_differs_among_its_runs(api: TestClient, submit: Submit, finish: Finish) -> None:
    for number, rate in enumerate((0.001, 0.002)):
        finish(submit(f"run {number}", learning_rate=rate, config={"lora": {"r": 4}}), eval_loss=0.5 + number)
    submit("waiting", learning_rate=0.002, config={"lora": {"r": 4}})
    plain = api.get("/experiments").json()
    assert (plain["differing"], plain["metrics"]) == (None, None)
    assert "values" not in plain["experiments"][0]
    asked = api.get("/experiments?columns=lora.r&columns=no.such").json()
    assert (asked["differing"], asked["metrics"]) == (None, None)
    assert [run["values"] for run in asked["experiments"]] == [{"lora.r": 4, "no.such": None}] * 3
    told = api.get("/experiments?differences=true&columns=lora.r&columns=no.such").json()
    assert told["differing"] == ["training.learning_rate"]
    assert set(told["metrics"]) == {"metrics.eval_accuracy", "metrics.eval_loss", "metrics.train_runtime"}
    assert [run["values"] for run in told["experiments"]] == [
        {
            "training.learning_rate": rate,
            "lora.r": 4,
            "no.such": None,
            "metrics.train_runtime": seconds,
            "metrics.eval_accuracy": accuracy,
            "metrics.eval_loss": loss,
        }
        for rate, seconds, accuracy, loss in (
            (0.002, None, None, None),
            (0.002, 2.0, 0.75, 1.5),
            (0.001, 2.0, 0.75, 0.5),
        )
    ]
