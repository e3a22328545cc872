"""Mirrors that end by themselves, are taken off, or meet damage: said, begun again, and no harm to the others."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from finetune30.cli.mirror import mirror
from finetune30.errors import NotFoundError, ServiceUnavailableError, UsageError
from finetune30.service.mirrors import following
from finetune30.service.mirrors.carrying import carry_run
from finetune30.service.mirrors.following import Follower, follow_all
from finetune30.service.mirrors.trackers.mlflow import MLflow
from finetune30.service.mirrors.trackers.tensorboard import TensorBoard
from finetune30.store.access import load_audit
from finetune30.store.mirrors import (
    begin_following,
    load_behind,
    load_cursors,
    load_mirrors,
    note_following,
    stop_carrying,
    stop_following,
)
from finetune30.store.process_identity import own_identity
from support.mirrored import MirroredRun, answering_server, step_record
from support.patience import wait_until
from support.run_store_lab import Lab


@pytest.fixture
def board(tmp_path: Path) -> TensorBoard:
    return TensorBoard(tmp_path / "board")


def test_a_thread_that_ends_by_itself_is_said_and_begun_again(
    lab: Lab, board: TensorBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_following(lab.store, "tensorboard")
    run = MirroredRun(lab)
    run.log([step_record(1)])
    looks: list[str] = []

    def look(*arguments: object) -> list[str]:
        looks.append("look")
        if len(looks) == 1:
            raise MemoryError("no memory left")
        return load_behind(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(following, "load_behind", look)
    monkeypatch.setattr(following, "_FIRST_PAUSE_SECONDS", 0.01)
    stopping = threading.Event()
    options = {"every_seconds": 0.01, "timeout_seconds": 0.5}
    thread = threading.Thread(target=follow_all, args=(run.records, [board], stopping), kwargs=options)
    thread.start()
    try:
        wait_until(lambda: bool(load_cursors(lab.store, run.id)), 30, "it carries again")
        wait_until(lambda: load_mirrors(lab.store)[0].is_followed, 30, "it says so")
    finally:
        stopping.set()
        thread.join()
    assert load_mirrors(lab.store)[0].fault == "MemoryError: no memory left"
    told = CliRunner().invoke(mirror, ["--list"]).output
    assert "was begun again: MemoryError: no memory left" in told


def test_a_thread_that_went_well_for_long_is_begun_again_as_soon_as_the_first_time(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [1000.0]
    monkeypatch.setattr(following, "time", SimpleNamespace(monotonic=lambda: now[0]))
    run = MirroredRun(lab)

    def fail(*_: object) -> None:
        raise MemoryError

    follower: Any = SimpleNamespace(follow=fail)
    watched = following._Watched(run.records, follower, "tensorboard", 0.1)
    with caplog.at_level(logging.ERROR):
        for went_well in (0.0, 0.0, 400.0):
            now[0] += 10.0
            watched.tend(threading.Event())
            wait_until(lambda: not watched.is_alive(), 30, "it ends by itself")
            now[0] += went_well
            watched.tend(threading.Event())
    assert [line.rpartition("begun again in ")[2] for line in caplog.messages] == ["1 s", "2 s", "1 s"]


def test_what_is_stopped_while_a_look_goes_on_is_not_carried_in_it(
    lab: Lab, board: TensorBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_following(lab.store, "tensorboard")
    stopped, other = MirroredRun(lab, "one"), MirroredRun(lab, "two")
    for each in (stopped, other):
        each.log([step_record(1)])
    follower = Follower(other.records, board, timeout_seconds=0.5)

    def then(stop: Any) -> None:
        def look(*arguments: Any) -> list[str]:
            found = load_behind(*arguments)
            stop()
            return found

        monkeypatch.setattr(following, "load_behind", look)

    then(lambda: stop_following(lab.store, "tensorboard"))
    assert follower.look() == 0
    begin_following(lab.store, "tensorboard")
    for each in (stopped, other):
        carry_run(each.records, each.id, board, timeout_seconds=1)
        each.log([step_record(2)])
    then(lambda: stop_carrying(lab.store, stopped.id, "tensorboard", stopped=True))
    assert follower.look() == 1
    assert [load_cursors(lab.store, each.id)[0].records for each in (stopped, other)] == [1, 2]


def test_a_mirror_that_nobody_follows_any_more_is_told_as_such(lab: Lab) -> None:
    begin_following(lab.store, "tensorboard")
    assert load_mirrors(lab.store)[0].is_followed is False
    note_following(lab.store, ["tensorboard"], own_identity())
    assert load_mirrors(lab.store)[0].is_followed is True
    lab.clock.advance(120)
    assert load_mirrors(lab.store)[0].is_followed is False
    note_following(lab.store, ["tensorboard"], own_identity().rpartition(":")[0] + ":1")
    assert load_mirrors(lab.store)[0].is_followed is False, "a process of this host that is gone"
    told = CliRunner().invoke(mirror, ["--list"]).output
    assert "begin with: FT30_MIRRORS=tensorboard ft30 mirrors" in told


def test_a_run_that_was_stopped_is_left_until_it_is_named_again(lab: Lab, board: TensorBoard) -> None:
    begin_following(lab.store, "tensorboard")
    run, other = MirroredRun(lab, "one"), MirroredRun(lab, "two")
    for each in (run, other):
        each.log([step_record(1)])
    carry_run(run.records, run.id, board, timeout_seconds=1)
    run.log([step_record(2)])
    for each in (run, other):
        each.succeed()
    assert set(load_behind(lab.store, "tensorboard")) == {run.id, other.id}
    stopped = CliRunner().invoke(mirror, [run.id, "--stop", "--to", "tensorboard"])
    assert stopped.exit_code == 0, stopped.output
    assert "is carried to tensorboard no longer" in stopped.output
    assert load_audit(lab.store)[0].target == f"{run.id} to tensorboard"
    assert load_behind(lab.store, "tensorboard") == [other.id]
    assert "stopped 20" in CliRunner().invoke(mirror, ["--list", run.id]).output
    everything = CliRunner().invoke(mirror, ["--all", "--to", "tensorboard"])
    assert other.run.folder in everything.output
    assert run.run.folder not in everything.output
    again = CliRunner().invoke(mirror, [run.id, "--to", "tensorboard"])
    assert "2 records there" in again.output, again.output
    assert load_cursors(lab.store, run.id)[0].stopped_at is None


def test_a_mirror_that_is_taken_off_carries_nothing_until_it_is_begun_anew(lab: Lab, board: TensorBoard) -> None:
    begin_following(lab.store, "tensorboard")
    stopped = CliRunner().invoke(mirror, ["--stop", "--to", "tensorboard"])
    assert "FT30_MIRRORS=tensorboard ft30 mirrors would follow it again" in stopped.output
    assert load_mirrors(lab.store) == []
    refused = CliRunner().invoke(mirror, ["--stop", "--to", "tensorboard"])
    assert isinstance(refused.exception, NotFoundError)
    assert refused.exception.remedy == "see those that are: ft30 mirror --list"
    assert CliRunner().invoke(mirror, ["--list"]).exit_code == 0
    both = CliRunner().invoke(mirror, ["--stop", "--all", "--to", "tensorboard"])
    assert isinstance(both.exception, UsageError)
    run = MirroredRun(lab)
    run.log([step_record(1)])
    stopping = threading.Event()
    follower = Follower(run.records, board, timeout_seconds=0.5)
    thread = threading.Thread(target=follower.follow, args=(stopping, 0.01))
    thread.start()
    try:
        begin_following(lab.store, "tensorboard")
        later = MirroredRun(lab, "later")
        later.log([step_record(1)])
        wait_until(lambda: bool(load_cursors(lab.store, later.id)), 30, "it is followed again")
    finally:
        stopping.set()
        thread.join()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"type": "train", "st\n', "cannot be read"),
        (b"[1]\n", "record 2: it is no object"),
        (b'{"type": "eval", "step": "x"}\n', "record 2: its step is 'x'"),
        (b'{"type": "train", "step": 2, "time": 5}\n', "record 2: its time is 5"),
        (b"\xff\xfe\n", "cannot be read"),
    ],
)
def test_a_damaged_history_is_said_by_run_and_the_others_go_on(
    lab: Lab, tmp_path: Path, line: bytes, said: str
) -> None:
    damaged, sound = MirroredRun(lab, "one"), MirroredRun(lab, "two")
    for run in (damaged, sound):
        run.log([step_record(1)])
    with (damaged.folder.attempts / "1" / "history.jsonl").open("ab") as file:
        file.write(line)
    for run in (damaged, sound):
        run.succeed()
    ended = CliRunner().invoke(mirror, ["--all", "--to", "tensorboard"])
    message = str(ended.exception)
    assert f"the history of run {damaged.id[:8]} (one) is damaged" in message
    assert said in message
    assert f"{sound.run.folder} -> tensorboard" in ended.output
    (cursor,) = load_cursors(lab.store, damaged.id)
    assert "is damaged" in str(cursor.error)
    assert ended.exception.remedy.endswith("take the run off: ft30 mirror RUN --stop")  # type: ignore[union-attr]
    assert CliRunner().invoke(mirror, [damaged.id, "--stop", "--to", "tensorboard"]).exit_code == 0
    assert CliRunner().invoke(mirror, ["--all", "--to", "tensorboard"]).exit_code == 0


def test_an_experiment_that_was_deleted_is_said_and_another_one_is_taken(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = MirroredRun(lab)
    run.succeed()
    body = b'{"experiment": {"experiment_id": "7", "lifecycle_stage": "deleted"}}'
    with answering_server(200, body) as address:
        server = MLflow(address, "trials", timeout_seconds=30.0)
        with pytest.raises(ServiceUnavailableError, match=r"'trials' of MLflow at .* was deleted") as said:
            carry_run(run.records, run.id, server, timeout_seconds=30.0)
        server.close()
    assert said.value.remedy == "restore experiment 7 there, or name another one: FT30_MLFLOW_EXPERIMENT=NAME"
    body = b'{"experiment": {"experiment_id": "8"}, "runs": [], "run": {"info": {"run_id": "r"}, "data": {}}}'
    asked: list[str] = []
    monkeypatch.setenv("FT30_MLFLOW_EXPERIMENT", "others")
    with answering_server(200, body, asked) as address:
        monkeypatch.setenv("FT30_MLFLOW_URL", address)
        named = CliRunner().invoke(mirror, [run.id, "--to", "mlflow"])
    assert named.exit_code == 0, named.output
    assert "experiment_name=others" in asked[0]
