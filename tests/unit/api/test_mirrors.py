"""How far mirrors are, over HTTP: with a run, and for monitoring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from finetune30.api.access_gate import needed_role
from finetune30.service.mirrors.following import Follower
from finetune30.service.mirrors.trackers.tensorboard import TensorBoard
from finetune30.service.runs.open_records import Records
from finetune30.store.access import Role
from finetune30.store.mirrors import begin_following, load_behind, note_look


def test_a_run_tells_how_far_its_trackers_are_and_metrics_tell_it_of_all(
    api: TestClient, submit: Callable[..., str], finish: Callable[..., None]
) -> None:
    app: Any = api.app
    store = app.state.services.store
    before = submit("before")
    finish(before)
    begin_following(store, "tensorboard")
    run_id = submit("trial")
    finish(run_id)
    assert api.get(f"/experiments/{run_id}").json()["mirrors"] == []
    assert "ft30_mirror" in api.get("/metrics").text
    assert Follower(Records(store, Path("results")), TensorBoard(Path("board")), timeout_seconds=10.0).look() == 1
    (mirror,) = api.get(f"/experiments/{run_id}").json()["mirrors"]
    assert (mirror["mirror"], mirror["records"], mirror["complete"], mirror["error"]) == ("tensorboard", 1, True, None)
    assert mirror["target"] == str(Path("board").absolute())
    assert api.get(f"/experiments/{before}").json()["mirrors"] == []


def test_monitoring_hears_of_a_tracker_that_is_behind_or_out_of_reach(
    api: TestClient, submit: Callable[..., str], finish: Callable[..., None]
) -> None:
    app: Any = api.app
    store = app.state.services.store
    begin_following(store, "mlflow")
    finish(submit("trial"))
    note_look(store, "mlflow", "nobody answers")
    lines = api.get("/metrics").text.splitlines()
    assert 'ft30_mirror_runs_behind{mirror="mlflow"} 1.0' in lines
    assert 'ft30_mirror_runs_refused{mirror="mlflow"} 0.0' in lines
    assert 'ft30_mirror_reachable{mirror="mlflow"} 0.0' in lines


def test_a_run_and_a_mirror_are_taken_off_over_http_and_the_trail_keeps_it(
    api: TestClient, submit: Callable[..., str], finish: Callable[..., None]
) -> None:
    app: Any = api.app
    store = app.state.services.store
    begin_following(store, "tensorboard")
    run_id = submit("trial")
    finish(run_id)
    place = f"/experiments/{run_id}/mirrors/tensorboard"
    (mirror,) = api.delete(place).json()["mirrors"]
    assert mirror["stopped_at"] is not None
    assert load_behind(store, "tensorboard") == []
    assert api.post(place).json()["mirrors"][0]["stopped_at"] is None
    assert load_behind(store, "tensorboard") == [run_id]
    assert api.delete(f"/experiments/{run_id}/mirrors/paper").status_code == 404
    assert api.delete(f"/experiments/{'0' * 32}/mirrors/tensorboard").status_code == 404

    (followed,) = api.get("/mirrors").json()["mirrors"]
    assert (followed["name"], followed["is_followed"], followed["behind"]) == ("tensorboard", False, 1)
    assert api.delete("/mirrors/tensorboard").status_code == 204
    assert api.delete("/mirrors/tensorboard").status_code == 404
    assert api.get("/mirrors").json() == {"mirrors": []}
    trail = [entry["target"] for entry in api.get("/audit").json()["entries"] if entry["outcome"] in (200, 204)]
    assert trail[:2] == ["tensorboard", f"{run_id} to tensorboard"]


def test_only_an_admin_takes_a_whole_mirror_off() -> None:
    assert needed_role("GET", "/mirrors") is Role.VIEWER
    assert needed_role("DELETE", "/mirrors/tensorboard") is Role.ADMIN
    assert needed_role("DELETE", "/experiments/1/mirrors/tensorboard") is Role.SUBMITTER
    assert needed_role("POST", "/experiments/1/mirrors/tensorboard") is Role.SUBMITTER
