"""Runs on record over HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from finetune30.api.run_schemas import BestRun
from finetune30.store.tables import runs
from finetune30.ui.messages import translate_message

TRAVERSALS = ("../../secret", "..%2f..%2fsecret", "%2e%2e/%2e%2e/secret", "/etc/passwd", "%252e%252e%252fsecret")


def test_list_filters_sorts_and_pages(api, submit, finish):
    for number, accuracy in enumerate((0.7, 0.9, 0.8)):
        finish(submit(f"sst2 Trial {number}"), eval_accuracy=accuracy)
    submit("waiting")
    found = api.get("/experiments?min_accuracy=0.8&sort_by=eval_accuracy&desc=true").json()
    assert [run["eval_accuracy"] for run in found["experiments"]] == [0.9, 0.8]
    assert found["next_cursor"] is None
    first = api.get("/experiments", params={"name": "trial SST2", "limit": 2, "with_total": True}).json()
    assert (len(first["experiments"]), first["total"]) == (2, 3)
    rest = api.get("/experiments", params={"name": "trial SST2", "limit": 2, "cursor": first["next_cursor"]}).json()
    assert len(rest["experiments"]) == 1
    assert [run["name"] for run in api.get("/experiments?status=QUEUED").json()["experiments"]] == ["waiting"]
    assert len(api.get("/experiments?max_runtime=2&start_date=2020-01-01").json()["experiments"]) == 3
    assert api.get("/experiments?end_date=2020-01-01").json()["experiments"] == []
    model = found["experiments"][0]["model_name"]
    assert len(api.get("/experiments", params={"model": model}).json()["experiments"]) == 4
    assert api.get("/experiments?dataset_digest=abc").json()["experiments"] == []


def test_list_goes_by_the_score_of_each_kind(api, submit, finish):
    for name, metrics in (
        ("poor", {"eval_accuracy": 0.5}),
        ("good", {"eval_accuracy": 0.9}),
        ("far", {"score": 4.0, "score_name": "eval_mse", "score_greater_is_better": False}),
        (
            "close",
            {"score": 0.25, "score_name": "eval_mse", "score_greater_is_better": False, "score_format": "number"},
        ),
    ):
        finish(submit(name), **metrics)

    def names(query: str) -> list[str]:
        return [run["name"] for run in api.get(f"/experiments?{query}").json()["experiments"]]

    assert names("sort_by=score") == ["close", "far", "good", "poor"]
    assert names("sort_by=score&score_name=eval_mse&desc=false") == ["far", "close"]
    assert names("max_score=1&score_name=eval_mse") == ["close"]
    assert names("min_score=0.8&score_name=eval_accuracy") == ["good"]
    row = api.get("/experiments?name=close").json()["experiments"][0]
    assert (row["score"], row["score_name"], row["score_greater_is_better"]) == (0.25, "eval_mse", False)
    seen = {run["name"]: run["score_format"] for run in api.get("/experiments").json()["experiments"]}
    assert seen == {"poor": "percent", "good": "percent", "far": None, "close": "number"}
    assert {"eval_accuracy", "eval_f1", "eval_loss"} <= row.keys()


def test_metrics_tell_monitoring_what_runs_and_requests_do(api, submit, finish):
    finish(submit(), train_runtime=2.0)
    finish(submit(), train_runtime=3.5)
    submit()
    lines = api.get("/metrics").text.splitlines()
    assert {
        'ft30_runs{status="SUCCEEDED"} 2.0',
        'ft30_runs{status="RUNNING"} 0.0',
        "ft30_queue_length 1.0",
        'ft30_waiting_runs{reason="no_worker"} 1.0',
        'ft30_waiting_runs{reason="places_busy"} 0.0',
        'ft30_places{state="free"} 0.0',
        "ft30_train_runtime_seconds_count 2.0",
        "ft30_train_runtime_seconds_sum 5.5",
        "ft30_attempts_total 2.0",
        "ft30_leases_lost_total 0.0",
        'ft30_request_seconds_count{method="POST",route="/train",status="202"} 3.0',
    } <= {*lines}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("min_acuracy=0.8", 422),
        ("min_accuracy=2", 422),
        ("min_accuracy=nan", 422),
        ("min_score=nan", 422),
        ("max_score=much", 422),
        ("sort_by=folder", 422),
        ("limit=0", 422),
        ("limit=99999999999999999999", 422),
        ("status=LOST", 422),
        ("start_date=yesterday", 400),
        ("cursor=abc", 400),
        ("name=%00", 400),
        ("name=%ff", 400),
    ],
)
def test_list_refuses_in_the_one_shape(api, query, status):
    answer = api.get(f"/experiments?{query}")
    assert answer.status_code == status
    assert {"error", "message", "remedy"} <= answer.json().keys()


def test_stats_count_by_state(api, submit, finish):
    store, run_id = api.app.state.services.store, submit("best")
    finish(run_id, eval_accuracy=0.9)
    with store.engine.begin() as connection:
        connection.execute(update(runs).values(dataset_digest="d" * 64))
    submit()
    stats = api.get("/experiments/stats").json()
    assert (stats["total"], stats["by_status"]["SUCCEEDED"], stats["by_status"]["QUEUED"]) == (2, 1, 1)
    assert (stats["best_accuracy"], stats["mean_runtime_seconds"], len(stats["last_30_days"])) == (0.9, 2.0, 30)
    (best,) = stats["best"]
    assert best.keys() == BestRun.model_fields.keys()
    assert (best["run_id"], best["dataset_digest"], best["score"], best["score_name"]) == (
        run_id,
        "d" * 64,
        0.9,
        "eval_accuracy",
    )


def test_experiment_shows_everything_by_any_of_its_names(api, submit, finish):
    run_id = submit("named")
    finish(run_id)
    for reference in (run_id, run_id[:10], "named", "latest"):
        assert api.get(f"/experiments/{reference}").json()["id"] == run_id
    run = api.get(f"/experiments/{run_id}").json()
    assert run["metrics"]["eval_accuracy"] == 0.75
    assert run["ledger_totals"] == {"input": 4}
    assert run["config_summary"]["training.num_train_epochs"] == 1
    assert {"metrics.json", "logs.txt", "history.jsonl"} <= {file["name"] for file in run["files"]}
    package = run["links"].pop("model.zip")
    for link in run["links"].values():
        assert api.get(link).status_code == 200
    refused = api.get(package)  # the fixture's run has no adapter; one that has: integration/test_export.py
    assert (refused.status_code, "holds no adapter" in refused.json()["message"]) == (507, True)
    assert api.get(f"/experiments/{run_id}/artifacts").json()["package_bytes"] is None


def test_history_and_logs_go_on_where_the_reader_was(api, submit, finish):
    run_id = submit()
    assert api.get(f"/experiments/{run_id}/history").json() == {"records": [], "next": 0, "attempt": 0}
    assert api.get(f"/experiments/{run_id}/logs").json()["text"] == ""
    finish(run_id)
    history = api.get(f"/experiments/{run_id}/history").json()
    assert (history["records"][0]["loss"], history["next"]) == (0.7, 1)
    assert api.get(f"/experiments/{run_id}/history?after=1").json()["records"] == []
    log = api.get(f"/experiments/{run_id}/logs?tail=1").json()
    assert log["text"] == "2026-01-31T12:00:01.000Z done\n"
    assert log["offset"] == log["size"]
    whole = api.get(f"/experiments/{run_id}/logs").json()
    assert len(whole["text"].splitlines()) == 2
    assert api.get(f"/experiments/{run_id}/logs", params={"offset": whole["offset"]}).json()["text"] == ""


def test_artifacts_are_reached_by_manifest_name_only(api, submit, finish, tmp_path):
    run_id = submit()
    assert api.get(f"/experiments/{run_id}/artifacts").status_code == 404
    content = bytes(range(256)) * 8
    finish(run_id, {"artifacts/final_model/weights.bin": content})
    listed = {entry["name"]: entry for entry in api.get(f"/experiments/{run_id}/artifacts").json()["artifacts"]}
    entry = listed["artifacts/final_model/weights.bin"]
    assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    whole = api.get(entry["link"])
    assert (whole.content, whole.headers["content-type"]) == (content, "application/octet-stream")
    assert whole.headers["content-disposition"].startswith("attachment")
    part = api.get(entry["link"], headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, content[10:20])
    outside = api.get(entry["link"], headers={"Range": "bytes=99999-"})
    assert (outside.status_code, outside.json()["error"]) == (416, "range_not_satisfiable")
    (tmp_path / "secret").write_text("canary")
    base = f"/experiments/{run_id}/artifacts/"
    for name in (*TRAVERSALS, "manifest.json", "", "attempts"):
        assert api.get(base + name).status_code == 404, name


def test_deleted_experiment_is_gone_with_its_folder(api, submit, finish, tmp_path):
    run_id = submit()
    finish(run_id)
    folder = tmp_path / "results" / api.get(f"/experiments/{run_id}").json()["folder"]
    assert folder.is_dir()
    assert api.delete(f"/experiments/{run_id}").status_code == 204
    assert not folder.exists()
    assert api.get(f"/experiments/{run_id}").status_code == 404


def test_running_experiment_is_not_deleted(api, submit):
    run_id = submit()
    api.app.state.services.store.claim(run_id, lease_seconds=60)
    assert api.delete(f"/experiments/{run_id}").status_code == 409


@pytest.mark.parametrize("part", ["logs", "history", "report", "quarantine", "artifacts", "rows"])
def test_result_in_a_folder_of_another_host_is_not_called_empty(
    api: TestClient, submit: Callable[..., str], finish: Callable[..., None], part: str
) -> None:
    run_id = submit()
    finish(run_id)
    folder = Path("results") / api.get(f"/experiments/{run_id}").json()["folder"]
    folder.rename("elsewhere")
    answer = api.get(f"/experiments/{run_id}/{part}")
    assert (answer.status_code, answer.json()["error"]) == (507, "storage_error")
    assert f"its folder {folder.name} is not in results; its last attempt was process" in answer.json()["message"]
    assert translate_message("zh", answer.json()["message"]) is not None
    assert translate_message("zh", answer.json()["remedy"]) is not None
    assert api.get(f"/experiments/{run_id}").json()["status"] == "SUCCEEDED"  # the record is here
