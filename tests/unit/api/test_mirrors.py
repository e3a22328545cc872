"""How far mirrors are, over HTTP: with a run, and for monitoring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from finetune30.service.mirrors.following import Follower
from finetune30.service.mirrors.trackers.tensorboard import TensorBoard
from finetune30.service.runs.open_records import Records
from finetune30.store.mirrors import begin_following, note_look


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
