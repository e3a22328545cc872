"""Carrying runs to trackers: everything once, whatever dies in between, and within the time that a tracker has."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from finetune30 import failpoints
from finetune30.cli.mirror import mirror
from finetune30.errors import ConflictError, ServiceUnavailableError, TrackerError, UsageError
from finetune30.service.mirrors.carrying import carry_run
from finetune30.service.mirrors.choosing import build_trackers
from finetune30.service.mirrors.following import Follower
from finetune30.service.mirrors.trackers.event_files import encode_scalar
from finetune30.service.mirrors.trackers.mlflow import MLflow
from finetune30.service.mirrors.trackers.tensorboard import TensorBoard
from finetune30.settings import Settings
from finetune30.store.annotations import RunEdit, edit_run
from finetune30.store.mirrors import begin_following, claim_cursor, load_behind, load_cursors, load_mirrors
from finetune30.store.run_sets import record_set
from support.mirrored import (
    MirroredRun,
    answering_server,
    closed_port,
    dripping_server,
    read_records,
    silent_server,
    step_record,
)
from support.run_store_lab import Lab

TIMEOUT_SECONDS = 0.5
#: A machine that is busy with other things may take so much longer.
LATEST_SECONDS = 30.0


@pytest.fixture
def board(tmp_path: Path) -> TensorBoard:
    return TensorBoard(tmp_path / "board")


def carry(run: MirroredRun, tracker: Any, **options: Any) -> int:
    return carry_run(run.records, run.id, tracker, timeout_seconds=TIMEOUT_SECONDS, **options).records


def event_file(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "board").rglob("events*")
    return found


def test_a_record_is_what_tensorboard_writes_itself() -> None:
    # By TensorBoard 2.21: Event(wall_time=1.5, step=300, summary=[Value("train/loss", simple_value=0.25)]).
    content = "2100000000000000017becf609000000000000f83f10ac022a130a110a0a747261696e2f6c6f7373150000803e6557981f"
    assert encode_scalar(1.5, 300, "train/loss", 0.25).hex() == content


def test_steps_come_once_while_a_run_goes_on_and_after_its_end(lab: Lab, board: TensorBoard, tmp_path: Path) -> None:
    run = MirroredRun(lab)
    assert carry(run, board) == 0
    assert not (tmp_path / "board").exists(), "nothing is told before the first step: what stands in may still change"
    run.log([step_record(1), step_record(2), {"type": "event", "step": 2, "event": "paused", "time": "2026-01-02"}])
    assert carry(run, board) == 2
    first = read_records(event_file(tmp_path))
    assert carry(run, board) == 2
    assert read_records(event_file(tmp_path)) == first
    run.log([step_record(3)])
    run.succeed()
    assert carry(run, board) == 3
    records = read_records(event_file(tmp_path))
    assert records[: len(first)] == first
    for tag in (b"train/loss", b"train/samples_per_second", b"final/eval_accuracy", b"final/score"):
        assert sum(tag in record for record in records) == (1 if tag.startswith(b"final") else 3), tag
    edit_run(lab.store, run.id, RunEdit(note="the good one"))
    carry(run, board)
    assert read_records(event_file(tmp_path))[: len(records)] == records
    assert sum(b"final/score" in record for record in read_records(event_file(tmp_path))) == 1
    assert b"the good one" in event_file(tmp_path).read_bytes()


@pytest.mark.parametrize("point", ["mirror.after_open", "mirror.after_send", "mirror.after_tell"])
def test_what_was_sent_but_not_noted_is_sent_again_into_the_same_place(
    lab: Lab, board: TensorBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    run, other = MirroredRun(lab, "one"), MirroredRun(lab, "two")
    for each in (run, other):
        each.log([step_record(step) for step in (1, 2, 3)])
        each.succeed()
    with monkeypatch.context() as patched:
        patched.setattr(failpoints, "reach", lambda name, *_: _die() if name == point else None)
        with pytest.raises(KeyboardInterrupt):
            carry(run, board)
    carry(run, board)
    carry(other, board)
    ones, twos = sorted((tmp_path / "board").rglob("events*"))
    assert len(read_records(ones)) == len(read_records(twos))
    assert ones.stat().st_size == twos.stat().st_size


def test_an_attempt_that_repeats_steps_adds_only_what_is_new(lab: Lab, board: TensorBoard, tmp_path: Path) -> None:
    run = MirroredRun(lab)
    run.log([step_record(step) for step in (1, 2, 3)])
    carry(run, board)
    before = read_records(event_file(tmp_path))
    run.begin_another_attempt()
    run.log([step_record(1)])
    carry(run, board)
    run.log([step_record(2, seconds=60), step_record(3, seconds=60), step_record(4, seconds=60)])
    assert carry(run, board) == 4
    scalars = [record for record in read_records(event_file(tmp_path)) if b"train/loss" in record]
    assert len(scalars) == 4
    assert set(scalars[:3]) <= set(before), "those that are there keep their times"


def test_an_attempt_that_came_out_otherwise_is_written_anew(lab: Lab, board: TensorBoard, tmp_path: Path) -> None:
    run = MirroredRun(lab)
    run.log([step_record(step) for step in (1, 2, 3)])
    carry(run, board)
    old = event_file(tmp_path)
    run.begin_another_attempt()
    run.log([step_record(1, loss=9.0)])
    assert carry(run, board) == 1
    assert not old.exists()
    assert sum(b"train/loss" in record for record in read_records(event_file(tmp_path))) == 1


def test_files_that_were_removed_are_said_and_written_anew_as_is_said(
    lab: Lab, board: TensorBoard, tmp_path: Path
) -> None:
    run = MirroredRun(lab)
    run.log([step_record(1)])
    carry(run, board)
    event_file(tmp_path).unlink()
    run.log([step_record(2)])
    with pytest.raises(TrackerError, match="is gone") as refused:
        carry(run, board)
    assert refused.value.remedy == "write it anew: ft30 mirror RUN --to tensorboard --again"
    assert "is gone" in str(load_cursors(lab.store, run.id)[0].error)
    assert carry(run, board, again=True) == 2
    assert load_cursors(lab.store, run.id)[0].error is None
    assert len([r for r in read_records(event_file(tmp_path)) if b"train/loss" in r]) == 2


def test_a_run_that_another_process_took_over_is_left_to_it(
    lab: Lab, board: TensorBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = MirroredRun(lab)
    run.log([step_record(1)])
    carry(run, board)
    run.log([step_record(2)])

    def take_over(name: str, *_: Any) -> None:
        if name == "mirror.after_send":  # as if this process had been paused for longer than it holds the cursor
            lab.clock.advance(3600)
            claim_cursor(lab.store, run.id, board.name, board.target, owner="other", hold_seconds=60)

    with monkeypatch.context() as patched:
        patched.setattr(failpoints, "reach", take_over)
        with pytest.raises(ConflictError, match="another process carries run") as refused:
            carry(run, board)
    assert refused.value.remedy == "see how far it is: ft30 mirror --list"
    listed = CliRunner().invoke(mirror, ["--list", run.id])
    assert listed.exit_code == 0, listed.output
    assert "1 record, behind" in listed.output
    lab.clock.advance(3600)
    assert carry(run, board) == 2
    assert sum(b"train/loss" in record for record in read_records(event_file(tmp_path))) == 2


BAD_SERVERS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "dead": closed_port,
    "silent": silent_server,
    "dripping": dripping_server,
    "500": lambda: answering_server(500, b"oops"),
    "no json": lambda: answering_server(200, b"<html>Sign in</html>"),
    "elsewhere": lambda: answering_server(302, b""),
    "closed to us": lambda: answering_server(401, b"{}"),
    "another program": lambda: answering_server(404, b'{"detail": "Not Found"}'),
    "a polite program": lambda: answering_server(200, b"{}"),
}


@pytest.mark.parametrize("kind", BAD_SERVERS)
def test_a_server_that_does_not_serve_is_given_up_in_time_and_left_alone_for_a_while(lab: Lab, kind: str) -> None:
    begin_following(lab.store, "mlflow")
    run = MirroredRun(lab)
    run.succeed()
    before = run.run
    with BAD_SERVERS[kind]() as address:
        server = MLflow(address, "trials", timeout_seconds=TIMEOUT_SECONDS)
        follower = Follower(run.records, server, timeout_seconds=TIMEOUT_SECONDS)
        began = time.monotonic()
        with pytest.raises(ServiceUnavailableError, match=address):
            follower.look()
        assert time.monotonic() - began < LATEST_SECONDS
        assert follower.look() == 0, "the run waits, and what is known of the server stands"
        server.close()
    assert run.run == before
    (cursor,) = load_cursors(lab.store, run.id)
    assert (cursor.held_by, cursor.failures, cursor.error, cursor.remote) == (None, 1, None, None)
    assert address in str(load_mirrors(lab.store)[0].error)
    assert load_behind(lab.store, "mlflow") == []
    lab.clock.advance(60)
    assert load_behind(lab.store, "mlflow") == [run.id]


def test_a_run_that_is_refused_holds_up_no_other(lab: Lab) -> None:
    begin_following(lab.store, "mlflow")
    runs = [MirroredRun(lab, name) for name in ("one", "two")]
    for run in runs:
        run.succeed()
    answer = b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "not this one"}'
    with answering_server(400, answer) as address:
        server = MLflow(address, "trials", timeout_seconds=LATEST_SECONDS)
        assert Follower(runs[0].records, server, timeout_seconds=LATEST_SECONDS).look() == 2
        server.close()
    (state,) = load_mirrors(lab.store)
    assert (state.behind, state.refused, state.error) == (2, 2, None)
    for run in runs:
        assert "400 INVALID_PARAMETER_VALUE: not this one" in str(load_cursors(lab.store, run.id)[0].error)


def test_a_damaged_history_holds_up_no_other_run_and_is_said(lab: Lab, board: TensorBoard, tmp_path: Path) -> None:
    begin_following(lab.store, "tensorboard")
    damaged, sound = MirroredRun(lab, "one"), MirroredRun(lab, "two")
    damaged.log([{**step_record(1), "time": "yesterday"}])
    sound.log([step_record(1)])
    assert Follower(sound.records, board, timeout_seconds=TIMEOUT_SECONDS).look() == 2
    assert "yesterday" in str(load_cursors(lab.store, damaged.id)[0].error)
    assert load_cursors(lab.store, sound.id)[0].records == 1


def test_a_password_opens_the_server_and_is_written_nowhere(lab: Lab) -> None:
    run = MirroredRun(lab)
    run.succeed()
    asked: list[str] = []
    with answering_server(401, b"{}", asked) as address:
        settings = Settings(mlflow_url=address, mlflow_username="anna", mlflow_password=SecretStr("hush-hush"))
        (server,) = build_trackers(settings, ["mlflow"])
        with pytest.raises(ServiceUnavailableError, match="credentials") as refused:
            carry(run, server)
        server.close()
    assert f"Basic {base64.b64encode(b'anna:hush-hush').decode()}" in asked[0]
    assert refused.value.remedy == "set FT30_MLFLOW_TOKEN, or _USERNAME and _PASSWORD, to those of the server"
    database = b"".join(path.read_bytes() for path in lab.results.glob("experiments.db*"))
    for secret in ("hush-hush", base64.b64encode(b"anna:hush-hush").decode()):
        assert secret not in f"{refused.value.message} {server.target} {settings!r}"
        assert secret.encode() not in database
    token = Settings(mlflow_url="http://127.0.0.1:1", mlflow_token=SecretStr("let-me-in"))
    assert "let-me-in" not in repr(token)


def test_a_tracker_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="there is no tracker 'tensorbord'") as unknown:
        build_trackers(Settings(), ["tensorbord"])
    assert unknown.value.remedy == "those that there are: tensorboard, mlflow, wandb"


def test_a_tracker_without_an_address_says_what_to_set() -> None:
    with pytest.raises(UsageError, match="FT30_MLFLOW_URL is not set") as missing:
        build_trackers(Settings(), ["mlflow"])
    assert missing.value.remedy == "set it to the server's address: FT30_MLFLOW_URL=http://127.0.0.1:5000"
    (server,) = build_trackers(Settings(mlflow_url="http://127.0.0.1:5000"), ["mlflow"])
    assert server.target == "http://127.0.0.1:5000 finetune30"


def test_runs_of_a_set_lie_together(lab: Lab, board: TensorBoard, tmp_path: Path) -> None:
    made = record_set(
        lab.store, name="three seeds", purpose="seeds", request_sha256="r", config={}, dataset_digest="d", plan=[]
    )
    run = MirroredRun(lab, idempotency_key=made.key_of(1), request_sha256="1")
    run.succeed()
    carry(run, board)
    place = event_file(tmp_path).relative_to(tmp_path / "board")
    assert place.parts[:2] == (f"three_seeds-{made.id[:8]}", run.run.folder)
    held = claim_cursor(lab.store, made.id, "tensorboard", board.target, owner="other", hold_seconds=60)
    assert held is not None
    other = MirroredRun(lab, idempotency_key=made.key_of(2), request_sha256="2")
    other.succeed()
    told = carry_run(other.records, other.id, board, timeout_seconds=TIMEOUT_SECONDS)
    assert told.elsewhere, "another process begins what they are kept under"


def _die() -> None:
    raise KeyboardInterrupt
