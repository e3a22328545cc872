"""What trackers are told of a run that changes and of numbers beyond their range; when they count as there."""

from __future__ import annotations

import json
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from finetune30 import failpoints
from finetune30.cli.mirror import mirror
from finetune30.errors import ServiceUnavailableError
from finetune30.service.mirrors.carrying import carry_run
from finetune30.service.mirrors.following import Follower
from finetune30.service.mirrors.trackers.event_files import encode_scalar
from finetune30.service.mirrors.trackers.mlflow import MLflow
from finetune30.service.mirrors.trackers.requests import JsonRequests
from finetune30.service.mirrors.trackers.tensorboard import TensorBoard
from finetune30.store.mirrors import begin_following, load_mirrors
from finetune30.store.run_sets import record_set
from support.mirrored import MirroredRun, answering_server, closed_port, dripping_server, read_records, step_record
from support.patience import wait_until
from support.run_store_lab import Lab

TIMEOUT_SECONDS = 30.0
#: What a server of MLflow says to anything, all in one: it knows the experiment and one tag of the run, finds no run.
ANSWER: dict[str, Any] = {
    "experiment": {"experiment_id": "1"},
    "run": {"info": {"run_id": "r"}, "data": {"tags": [{"key": "finetune30.error", "value": "out of memory"}]}},
}


def carry(run: MirroredRun, tracker: Any) -> None:
    carry_run(run.records, run.id, tracker, timeout_seconds=TIMEOUT_SECONDS)


def asked_for(asked: list[str], path: str) -> list[dict[str, Any]]:
    return [json.loads(text.splitlines()[-1]) for text in asked if f"/mlflow/{path} " in text.splitlines()[0] + " "]


@pytest.mark.parametrize(("value", "written"), [(1e300, float("inf")), (-1e300, float("-inf")), (0.25, 0.25)])
def test_a_number_beyond_float32_is_infinite_in_tensorboard(value: float, written: float) -> None:
    assert struct.pack("<f", written) in encode_scalar(1.5, 300, "eval/perplexity", value)


def test_a_run_that_begins_anew_before_its_file_was_noted_is_drawn_once(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = TensorBoard(tmp_path / "board")
    run = MirroredRun(lab)
    run.log([step_record(1)])

    def die(name: str, *_: Any) -> None:
        if name == "mirror.after_open":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(failpoints, "reach", die)
        with pytest.raises(KeyboardInterrupt):
            carry(run, board)
    lab.clock.advance(60)
    run.begin_another_attempt()
    run.log([step_record(1)])
    carry(run, board)
    (found,) = (tmp_path / "board").rglob("events*")
    assert sum(b"train/loss" in record for record in read_records(found)) == 1


def test_what_a_run_has_no_more_is_taken_away_in_mlflow(lab: Lab) -> None:
    run = MirroredRun(lab)
    run.succeed()
    asked: list[str] = []
    with answering_server(200, json.dumps(ANSWER).encode(), asked) as address:
        server = MLflow(address, "trials", timeout_seconds=TIMEOUT_SECONDS)
        carry(run, server)
        server.close()
    assert asked_for(asked, "runs/delete-tag") == [{"run_id": "r", "key": "finetune30.error"}]


def test_a_set_begins_in_mlflow_when_its_first_run_does(lab: Lab) -> None:
    made = record_set(
        lab.store, name="three seeds", purpose="seeds", request_sha256="r", config={}, dataset_digest="d", plan=[]
    )
    run = MirroredRun(lab, idempotency_key=made.key_of(1), request_sha256="1")
    run.succeed()
    asked: list[str] = []
    with answering_server(200, json.dumps(ANSWER).encode(), asked) as address:
        server = MLflow(address, "trials", timeout_seconds=TIMEOUT_SECONDS)
        carry(run, server)
        server.close()
    parent, child = asked_for(asked, "runs/create")
    assert parent["run_name"] == "three seeds"
    assert parent["start_time"] == child["start_time"] > 0


def test_a_tracker_that_was_asked_nothing_is_no_tracker_that_answers(lab: Lab) -> None:
    begin_following(lab.store, "mlflow")
    ended = MirroredRun(lab, "ended")
    ended.succeed()
    with closed_port() as address:
        server = MLflow(address, "trials", timeout_seconds=TIMEOUT_SECONDS)
        follower = Follower(ended.records, server, timeout_seconds=TIMEOUT_SECONDS)
        with pytest.raises(ServiceUnavailableError):
            follower.look()
        MirroredRun(lab, "just begun")
        assert follower.look() == 1, "it is looked at, and has nothing to tell yet"
    assert address in str(load_mirrors(lab.store)[0].error)


def test_a_tracker_that_is_away_holds_up_no_other_at_the_terminal(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MirroredRun(lab).succeed()
    monkeypatch.chdir(tmp_path)
    with closed_port() as address:
        monkeypatch.setenv("FT30_MLFLOW_URL", address)
        ended = CliRunner().invoke(mirror, ["latest", "--to", "mlflow", "--to", "tensorboard"])
    assert isinstance(ended.exception, ServiceUnavailableError), ended.output
    assert len(list((tmp_path / "results" / "tensorboard").rglob("events*"))) == 1


def test_an_answer_without_end_keeps_no_thread() -> None:
    with dripping_server() as address:
        requests = JsonRequests("MLflow", "FT30_MLFLOW_URL", address, {}, 0.5)
        with pytest.raises(ServiceUnavailableError, match="did not answer within"):
            requests.ask("GET", "/", {})
        wait_until(lambda: not any(t.name == "tracker-request" for t in threading.enumerate()), 30, "no thread")
