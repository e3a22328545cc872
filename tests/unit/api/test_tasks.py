"""Submitting and following runs over HTTP."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finetune30.config import ExperimentConfig
from finetune30.config.fields import SHORT_NAMES
from finetune30.errors import ServiceUnavailableError
from finetune30.store.access import Role, create_key
from support.published import finish_run

UNKNOWN = "0" * 32


def test_train_accepts_the_documented_body(api):
    answer = api.post("/train", json={"experiment_name": "test_async", "epochs": 1})
    body = answer.json()
    assert answer.status_code == 202
    assert body["task_id"] == body["experiment_id"]
    assert (body["status"], body["queue_position"], body["notes"]) == ("QUEUED", 1, [])
    assert api.app.state.services.publisher.sent == [body["task_id"]]
    task = api.get(body["links"]["task"]).json()
    assert (task["experiment_name"], task["status"], task["queue_position"]) == ("test_async", "QUEUED", 1)
    config = api.get(f"/experiments/{body['task_id']}/config").json()
    assert config["config"]["training"]["num_train_epochs"] == 1
    assert config["config"]["training"]["per_device_train_batch_size"] == 2


def test_train_takes_preset_tree_and_short_names(api):
    body = {"preset": "starter", "config": {"lora": {"r": 4}, "training": {"seed": 7}}, "learning_rate": 0.001}
    run_id = api.post("/train", json=body).json()["task_id"]
    run = api.app.state.services.store.get(run_id)
    assert run.config["model"]["name"] == "starter"
    assert (run.config["lora"]["r"], run.config["training"]["seed"]) == (4, 7)
    assert run.config["training"]["learning_rate"] == 0.001
    assert run.explicit_keys == ["lora.r", "training.learning_rate", "training.seed"]


def test_every_short_name_of_the_command_line_is_understood(api):
    shown = api.get("/openapi.json").json()["components"]["schemas"]["TrainRequest"]["properties"]
    assert SHORT_NAMES.keys() - {"output_dir"} == shown.keys() - {"config", "preset", "priority"}


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        ({"epochs": 0, "learning_rate": "x", "config": {"lora": {"rank": 4}}}, {"lora.rank", "training.learning_rate"}),
        ({"epochs": 2, "config": {"training": {"num_train_epochs": 3}}}, {"training.num_train_epochs"}),
        ({"experiment_name": "../../etc"}, {"experiment_name"}),
        ({"experiment_name": "a\x00b"}, {"experiment_name"}),
        ({"experiment_name": ["a"]}, {"experiment_name"}),
        ({"unknown": 1}, {"unknown"}),
        ({"priority": 1000}, {"priority"}),
        ({"config": {"training": {"output_dir": "elsewhere"}}}, set()),
        ({"dataset": "/etc/passwd"}, {"data.dataset_name"}),
        ({"dataset": "../secrets.csv"}, {"data.dataset_name"}),
        ({"dataset": "data/../../x.csv"}, {"data.dataset_name"}),
        ({"dataset": "http://localhost/x.csv"}, {"data.dataset_name"}),
        ({"model": "/elsewhere/model"}, {"model.name"}),
        ({"config": {"data": {"eval_file": "x.csv"}}}, {"data.eval_file"}),
        ({"config": {"a": {"b": [[[[[[[[[[[[[1]]]]]]]]]]]]]}}}, {"config.a.b"}),
        ({"device": "x" * 20_000}, {"device"}),
    ],
)
def test_train_refuses_with_every_fault_and_records_nothing(api, body, keys):
    answer = api.post("/train", json=body)
    assert answer.status_code == 422, answer.text
    shape = answer.json()
    assert {"error", "message", "remedy"} <= shape.keys()
    assert keys <= {fault["key"] for fault in shape.get("details", {}).get("faults", [])}
    assert api.get("/experiments/stats").json()["total"] == 0


def test_train_takes_files_of_allowed_folders_only_when_they_lie_there(api, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_text("text,label\n")
    (tmp_path / "data" / "out").symlink_to("/etc")
    assert api.post("/train", json={"dataset": "data/rows.csv"}).status_code == 202
    assert api.post("/train", json={"dataset": "data/out/passwd"}).status_code == 422


def test_train_with_unknown_preset_is_not_found(api):
    assert api.post("/train", json={"preset": "nothing"}).json()["error"] == "not_found"


def test_train_is_idempotent_under_a_key(api):
    body, key = {"experiment_name": "once"}, {"Idempotency-Key": "k1"}
    first = api.post("/train", json=body, headers=key)
    again = api.post("/train", json=body, headers=key)
    other = api.post("/train", json={"experiment_name": "other"}, headers=key)
    assert first.json()["task_id"] == again.json()["task_id"]
    assert (other.status_code, other.json()["error"]) == (422, "idempotency_key_reused")
    assert api.get("/experiments/stats").json()["total"] == 1


def test_train_is_durable_while_the_queue_is_down(api, monkeypatch):
    def refuse(_run_id):
        raise ServiceUnavailableError("Redis is out of reach")

    monkeypatch.setattr(api.app.state.services.publisher, "publish", refuse)
    answer = api.post("/train", json={"experiment_name": "trial"})
    assert answer.status_code == 202
    assert "Redis is out of reach" in answer.json()["notes"][0]
    assert api.get(f"/task/{answer.json()['task_id']}").json()["status"] == "QUEUED"


def test_readers_are_answered_while_more_changes_than_threads_wait(api, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(api.app.state.services.publisher, "publish", lambda _run_id: go_on.wait(60))
    with ThreadPoolExecutor(61) as clients:
        waiting = [clients.submit(api.post, "/train", json={"experiment_name": f"n{n}"}) for n in range(60)]
        try:
            assert clients.submit(api.get, "/experiments/stats").result(30).status_code == 200
            assert not any(submitted.done() for submitted in waiting)
        finally:
            go_on.set()
        assert {submitted.result(60).status_code for submitted in waiting} == {202}


def test_open_runs_beyond_the_quota_are_refused_until_one_ends(start):
    api = start(max_open_runs=2)
    ids = [api.post("/train", json={}).json()["task_id"] for _ in range(2)]
    full = api.post("/train", json={})
    assert (full.status_code, full.json()["error"]) == (429, "quota_exceeded")
    assert full.headers["Retry-After"]
    api.post(f"/task/{ids[0]}/cancel")
    assert api.post("/train", json={}).status_code == 202


def test_submitted_again_under_its_key_is_answered_also_when_the_quota_is_full(start):
    api = start(max_open_runs=1)
    first = api.post("/train", json={}, headers={"Idempotency-Key": "k"})
    again = api.post("/train", json={}, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["task_id"]) == (202, first.json()["task_id"])


def test_train_is_refused_when_the_disk_reserve_is_touched(start):
    answer = start(disk_reserve_bytes=1 << 50).post("/train", json={})
    assert (answer.status_code, answer.json()["error"]) == (507, "storage_error")


@pytest.mark.parametrize("path", ["/task/{}", "/task/{}/events", "/experiments/{}", "/experiments/{}/logs"])
@pytest.mark.parametrize("run_id", [UNKNOWN, "nothing", "%2e%2e%2fetc", "latest"])
def test_unknown_id_is_not_found(api, path, run_id):
    answer = api.get(path.format(run_id))
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


def test_cancel_and_retry_change_the_state(api, submit):
    run_id = submit()
    assert api.post(f"/task/{run_id}/cancel").json()["status"] == "CANCELLED"
    assert api.post(f"/task/{run_id}/retry").json()["status"] == "QUEUED"
    again = api.post(f"/task/{run_id}/retry")
    assert (again.status_code, again.json()["error"]) == (409, "conflict")


def test_changes_take_the_full_id_only(api, submit):
    run_id = submit("named")
    for reference in ("latest", "named", run_id[:8]):
        assert api.post(f"/task/{reference}/cancel").status_code == 404
        assert api.delete(f"/experiments/{reference}").status_code == 404


def test_events_are_numbered_and_resumable_to_the_end(api, submit, finish):
    run_id = submit()
    finish(run_id)
    events = _read_events(api.get(f"/task/{run_id}/events").text)
    kinds = [event["data"]["kind"] for event in events if event["event"] == "change"]
    assert kinds == ["created", "claimed", "succeeded"]
    assert [event["event"] for event in events][-2:] == ["task", "end"]
    seen = events[0]["id"]
    later = _read_events(api.get(f"/task/{run_id}/events", headers={"Last-Event-ID": seen}).text)
    assert [event["data"]["kind"] for event in later if event["event"] == "change"] == ["claimed", "succeeded"]


def test_failed_task_tells_cause_and_whether_a_retry_helps(api, submit):
    run_id = submit()
    store = api.app.state.services.store
    claim = store.claim(run_id, lease_seconds=60)
    store.renew(claim, 60, {"step": 3, "percent": 1.5})
    assert api.get(f"/task/{run_id}").json()["progress"] == {"step": 3, "percent": 1.5}
    store.fail(claim, {"error": "data_error", "message": "row 3 is broken", "remedy": "mend it"})
    task = api.get(f"/task/{run_id}").json()
    assert (task["status"], task["error"]["cause"], task["error"]["retry_may_help"]) == ("FAILED", "data", False)


def _read_events(text):
    events = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith((":", "retry")))
        if fields:
            events.append({**fields, "data": json.loads(fields["data"])})
    return events


def test_run_is_refused_when_the_database_was_taken_away(api):
    assert api.post("/train", json={}).status_code == 202
    for file in Path("results").glob("experiments.db*"):
        file.unlink()
    answer = api.post("/train", json={})
    assert (answer.status_code, answer.json()["error"]) == (507, "storage_error")
    assert "removed or replaced" in answer.json()["message"]
    assert api.get("/readyz").status_code == 507
    assert not Path("results/experiments.db").exists()


def test_a_replay_takes_the_priority_that_its_submitter_may_give(start):
    api = start(api_keys="secret", submitter_max_priority=-5)
    store = api.app.state.services.store
    original = finish_run(store, ExperimentConfig(), Path("results"))
    submitter = create_key(store, "anna", Role.SUBMITTER)[1]
    api.app.state.keys._loaded_at = -1e9
    for key, priority in ((submitter, -5), ("secret", 0)):
        answer = api.post(f"/experiments/{original.id}/replay", headers={"X-API-Key": key})
        assert answer.status_code == 202, answer.text
        assert store.get(answer.json()["task_id"]).priority == priority


@pytest.mark.parametrize("most", [-5, 10])
def test_a_caller_learns_the_highest_priority_that_is_taken(start, most):
    api = start(api_keys="secret", submitter_max_priority=most)
    submitter = create_key(api.app.state.services.store, "anna", Role.SUBMITTER)[1]
    api.app.state.keys._loaded_at = -1e9
    told = {key: api.get("/me", headers={"X-API-Key": key}).json() for key in (submitter, "secret")}
    assert told[submitter] == {"name": "anna", "role": "submitter", "highest_priority": most, "asks": []}
    assert (told["secret"]["role"], told["secret"]["highest_priority"]) == ("admin", 100)
    for key, priority, status in ((submitter, most, 202), (submitter, most + 1, 403), ("secret", 100, 202)):
        assert api.post("/train", headers={"X-API-Key": key}, json={"priority": priority}).status_code == status


def test_without_keys_the_caller_is_an_admin_without_a_name(api):
    assert api.get("/me").json() == {"name": "", "role": "admin", "highest_priority": 100, "asks": []}
