"""States of a run: who may change what, and what stays untouched."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, event, update

from finetune30.errors import ConflictError, IdempotencyError, NotFoundError, StaleAttemptError, StorageError
from finetune30.store import RunFilter, RunStatus
from finetune30.store.database import reading, writing
from finetune30.store.process_identity import identity_of
from finetune30.store.scores import score_columns
from finetune30.store.tables import run_events, runs
from support.run_store_lab import Lab

OWNER = "elsewhere:boot:1:1"
ERROR = {"error": "data_error", "message": "broken row", "remedy": "mend it"}


def test_create_reserves_folder_and_row(lab):
    run = lab.create("trial")
    assert run.status is RunStatus.QUEUED
    assert run.folder == "trial_20260102_030405"
    assert (lab.results / run.folder).is_dir()
    assert [event.kind for event in lab.store.events(run.id)] == ["created"]
    assert run.created_at == lab.clock.moment


def test_create_adds_a_suffix_when_the_folder_is_taken(lab):
    folders = [lab.create("trial").folder for _ in range(3)]
    assert folders == ["trial_20260102_030405", "trial_20260102_030405-2", "trial_20260102_030405-3"]


def test_create_never_gives_the_folder_of_a_run_to_another_when_it_was_removed(lab):
    first = lab.create("trial")
    (lab.results / first.folder).rmdir()
    assert lab.create("trial").folder == f"{first.folder}-2"


def test_empty_folders_of_no_run_are_removed_once_they_are_old(lab):
    waiting = lab.results / lab.create("waiting").folder
    names = ("lost_20260102_030405", "lost_20260102_030405-2", "full_20260102_030405", "mine", "new_20260102_030405")
    lost, again, full, mine, new = folders = [lab.results / name for name in names]
    for folder in folders:
        folder.mkdir()
    (full / "notes.txt").touch()
    (lost / "origin.json").touch()
    (again / ".origin.json.4711.tmp").touch()  # of a process that was killed while it wrote
    for folder in (waiting, lost, again, full, mine):
        os.utime(folder, (1, 1))
    assert sorted(lab.store.remove_unused_folders(lab.results)) == [lost.name, again.name]
    assert all(folder.is_dir() for folder in (waiting, full, mine, new))


def test_a_run_whose_origin_cannot_be_written_leaves_no_folder(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StorageError("cannot write origin.json: No space left on device", "check free space")

    monkeypatch.setattr("finetune30.store.run_store.save_json_atomic", fail)
    with pytest.raises(StorageError, match="No space left"):
        lab.create("trial", origin={"replay_of": "a" * 32})
    assert list(lab.results.glob("trial*")) == []


def test_create_returns_the_first_run_for_the_same_idempotency_key(lab):
    first = lab.create(idempotency_key="k", request_sha256="a" * 64)
    again = lab.create(idempotency_key="k", request_sha256="a" * 64)
    assert again.id == first.id
    assert len(list(lab.results.glob("trial*"))) == 1
    with pytest.raises(IdempotencyError, match="another request"):
        lab.create(idempotency_key="k", request_sha256="b" * 64)
    assert lab.create(idempotency_key="k", request_sha256="b" * 64, submitted_by="other").id != first.id


def test_claim_takes_a_run_once(lab):
    run = lab.create()
    claim = lab.store.claim(run.id, owner=OWNER, lease_seconds=60)
    assert claim is not None
    assert claim.attempt == 1
    assert lab.store.claim(run.id, owner=OWNER, lease_seconds=60) is None
    held = lab.store.get(run.id)
    assert (held.status, held.attempt, held.lease_owner) == (RunStatus.RUNNING, 1, OWNER)
    assert held.lease_until == lab.clock.moment + timedelta(seconds=60)


def test_renew_prolongs_the_lease_and_records_progress(lab):
    claim = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=60)
    lab.clock.advance(50)
    lease = lab.store.renew(claim, 60, {"step": 7})
    assert (lease.held, lease.cancel_requested) == (True, False)
    run = lab.store.get(claim.run_id)
    assert run.lease_until == lab.clock.moment + timedelta(seconds=60)
    assert run.progress == {"step": 7}


def test_succeed_records_metrics_and_ends_the_lease(lab):
    claim = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=60)
    lab.store.describe(claim, device="cpu", dataset_digest="d" * 64)
    lab.clock.advance(5)
    lab.store.succeed(claim, {"eval_accuracy": 0.9, "train_runtime": 4.5, "note": None}, "f" * 64)
    run = lab.store.get(claim.run_id)
    assert run.status is RunStatus.SUCCEEDED
    assert (run.eval_accuracy, run.train_runtime, run.eval_f1, run.device) == (0.9, 4.5, None, "cpu")
    assert (run.lease_owner, run.lease_until, run.finished_at) == (None, None, lab.clock.moment)
    assert [event.kind for event in lab.store.events(run.id)] == ["created", "claimed", "described", "succeeded"]


@pytest.mark.parametrize(
    ("metrics", "score"),
    [
        ({"eval_accuracy": 0.5, "eval_f1": 0.25}, (0.5, "eval_accuracy", True, "percent")),
        ({"eval_mse": 2.5}, (2.5, "eval_mse", False, "number")),
        ({"train_loss": 1.0}, (None, None, None, None)),
    ],
)
def test_an_attempt_of_the_release_before_gets_its_score_afterwards(
    lab: Lab, metrics: dict[str, Any], score: tuple[Any, ...]
) -> None:
    claim = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=60)
    assert claim is not None
    with writing(lab.store.engine) as connection:  # the statement of that release, which knows no score
        values = {key: metrics.get(key) for key in ("eval_accuracy", "eval_f1")}
        done = {"status": "SUCCEEDED", "metrics": metrics, "finished_at": lab.clock.moment, "lease_owner": None}
        connection.execute(update(runs).where(runs.c.id == claim.run_id).values(**done, **values, lease_until=None))
    assert lab.store.get(claim.run_id).score is None
    for _ in range(2):
        assert lab.store.reconcile() == []
        run = lab.store.get(claim.run_id)
        assert (run.score, run.score_name, run.score_greater_is_better, run.score_format) == score
        assert [run.id for run in lab.store.find(RunFilter(sort_by="score"))] == [claim.run_id]
    assert lab.store.count(RunFilter(min_score=0.1)) == (score[0] is not None)


def test_the_metrics_of_a_run_without_a_score_are_read_once_and_few_at_a_time(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune30.store.reconciliation.MOST_METRICS_READ", 2)
    for number in range(3):
        claim = lab.store.claim(lab.create(f"trial {number}").id, owner=OWNER, lease_seconds=60)
        assert claim is not None
        lab.store.succeed(claim, {"eval_accuracy": None}, "f" * 64)
    read: list[int] = []

    def watched(metrics: dict[str, Any]) -> dict[str, Any]:
        read.append(1)
        return score_columns(metrics)

    monkeypatch.setattr("finetune30.store.reconciliation.score_columns", watched)
    for _ in range(4):
        lab.store.reconcile()
        read.append(0)
    assert read == [1, 1, 0, 1, 0, 0, 0]


def test_runs_without_a_score_are_found_in_an_index_alone(lab: Lab) -> None:
    asked: list[tuple[str, Any]] = []
    event.listen(lab.store.engine, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
    lab.store.reconcile()
    ((query, values),) = [(statement, given) for statement, given in asked if "score_name IS NULL" in statement]
    with reading(lab.store.engine) as connection:
        if connection.dialect.name == "sqlite":
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values)]
        else:  # which would rather read all of a table as small as this one
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            plan = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {query}", values)][:1]
    assert [re.search("COVERING INDEX|Index Only Scan|Bitmap|Index Scan", line) is not None for line in plan] == [True]


def test_stale_claim_changes_nothing(lab):
    stale = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=60)
    lab.clock.advance(61)
    assert [change.to_status for change in lab.store.reconcile()] == [RunStatus.QUEUED]
    lab.store.claim(stale.run_id, owner="elsewhere:boot:2:2", lease_seconds=60)
    before, events = lab.store.get(stale.run_id), lab.store.events(stale.run_id)
    assert not lab.store.renew(stale, 60, {"step": 1}).held
    assert not lab.store.lease(stale).held
    for change in (
        lambda: lab.store.succeed(stale, {}, "f" * 64),
        lambda: lab.store.fail(stale, ERROR),
        lambda: lab.store.fail(stale, ERROR, may_retry=True),
        lambda: lab.store.cancelled(stale),
        lambda: lab.store.release(stale, "stopping"),
        lambda: lab.store.describe(stale, device="cuda"),
    ):
        with pytest.raises(StaleAttemptError, match="does not hold"):
            change()
    assert lab.store.get(stale.run_id) == before
    assert lab.store.events(stale.run_id) == events


def test_fail_keeps_the_error_and_retry_queues_again(lab):
    claim = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=60)
    assert lab.store.fail(claim, ERROR) is RunStatus.FAILED
    assert lab.store.get(claim.run_id).error == ERROR
    run = lab.store.retry(claim.run_id)
    assert (run.status, run.error, run.attempt) == (RunStatus.QUEUED, None, 1)
    assert lab.store.claim(run.id, owner=OWNER, lease_seconds=60).attempt == 2
    with pytest.raises(ConflictError, match="is RUNNING"):
        lab.store.retry(run.id)


def test_machine_faults_requeue_until_the_third_lost_attempt(lab):
    run = lab.create()
    states = []
    for _ in range(3):
        claim = lab.store.claim(run.id, owner=OWNER, lease_seconds=60)
        states.append(lab.store.fail(claim, ERROR, may_retry=True))
    assert states == [RunStatus.QUEUED, RunStatus.QUEUED, RunStatus.FAILED]


def test_expired_lease_of_a_queued_run_requeues_and_fails_after_three(lab):
    run = lab.create()
    states = []
    for _ in range(3):
        lab.store.claim(run.id, owner=OWNER, lease_seconds=60)
        assert lab.store.reconcile() == []
        lab.clock.advance(60.5)
        states += [change.to_status for change in lab.store.reconcile()]
        assert lab.store.reconcile() == []
    assert states == [RunStatus.QUEUED, RunStatus.QUEUED, RunStatus.FAILED]
    assert lab.store.get(run.id).error["error"] == "process_lost"


def test_release_gives_back_without_counting_as_lost(lab):
    run = lab.create()
    for _ in range(5):
        claim = lab.store.claim(run.id, owner=OWNER, lease_seconds=60)
        assert lab.store.release(claim, "worker stops") is RunStatus.QUEUED
    assert (lab.store.get(run.id).attempt, lab.store.get(run.id).failures) == (5, 0)


def test_cancel_of_a_queued_run_ends_it(lab):
    run = lab.create()
    assert lab.store.request_cancel(run.id).status is RunStatus.CANCELLED
    assert lab.store.request_cancel(run.id).status is RunStatus.CANCELLED
    assert lab.store.claim(run.id, owner=OWNER, lease_seconds=60) is None


def test_cancel_of_a_running_run_is_told_to_its_attempt(lab):
    claim = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=60)
    assert lab.store.request_cancel(claim.run_id).status is RunStatus.RUNNING
    assert lab.store.renew(claim, 60).cancel_requested
    assert lab.store.lease(claim).cancel_requested
    lab.store.cancelled(claim)
    with pytest.raises(StaleAttemptError, match="does not hold"):
        lab.store.cancelled(claim)
    assert lab.store.retry(claim.run_id).cancel_requested is False


def test_cancel_survives_the_loss_of_the_attempt(lab):
    lost = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=60)
    released = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=600)
    for claim in (lost, released):
        lab.store.request_cancel(claim.run_id)
    lab.clock.advance(61)
    assert [change.to_status for change in lab.store.reconcile()] == [RunStatus.CANCELLED]
    assert lab.store.release(released, "stopping") is RunStatus.CANCELLED


def test_cancel_of_a_finished_run_is_refused(lab):
    claim = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=60)
    lab.store.succeed(claim, {}, "f" * 64)
    with pytest.raises(ConflictError, match="is SUCCEEDED"):
        lab.store.request_cancel(claim.run_id)


def _process() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


@pytest.mark.parametrize("claimed", [True, False])
def test_local_run_of_a_dead_process_is_found_at_once(lab, claimed):
    with _process() as process:
        owner = identity_of(process.pid)
        run = lab.create(kind="local", owner=owner)
        if claimed:
            lab.store.claim(run.id, owner=owner, lease_seconds=600)
        assert lab.store.reconcile() == []
        process.kill()
        # not yet waited for: a zombie is as dead
        while not (changes := lab.store.reconcile()):
            pass
    assert [(change.run_id, change.to_status) for change in changes] == [(run.id, RunStatus.FAILED)]
    error = lab.store.get(run.id).error
    assert (error["error"], f"ft30 resume {run.id[:8]}" in error["remedy"]) == ("process_lost", True)


def test_local_run_of_a_living_process_keeps_its_run_after_the_lease(lab):
    with _process() as process:
        owner = identity_of(process.pid)
        run = lab.create(kind="local", owner=owner)
        lab.store.claim(run.id, owner=owner, lease_seconds=60)
        lab.clock.advance(3600)
        assert lab.store.reconcile() == []
        process.kill()


def test_reused_process_id_is_another_process(lab):
    with _process() as process:
        host, boot, pid, started = identity_of(process.pid).split(":")
        assert host == socket.gethostname()
        run = lab.create(kind="local", owner=f"{host}:{boot}:{pid}:{int(float(started)) - 1}")
        assert [change.run_id for change in lab.store.reconcile()] == [run.id]
        process.kill()


def test_delete_refuses_a_running_run_and_removes_others(lab):
    claim = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=60)
    with pytest.raises(ConflictError, match="RUNNING and cannot be deleted"):
        lab.store.delete(claim.run_id, lab.results)
    folder = lab.results / lab.store.get(claim.run_id).folder
    (folder / "logs.txt").write_text("line\n")
    lab.store.fail(claim, ERROR)
    lab.store.delete(claim.run_id, lab.results)
    assert not folder.exists()
    with pytest.raises(NotFoundError, match="there is no run"):
        lab.store.get(claim.run_id)
    assert lab.store.events(claim.run_id)[-1].kind == "deleted"


def test_get_knows_a_run_by_each_of_its_names(lab):
    first, second = lab.create("same"), lab.create("same")
    lab.clock.advance(1)
    newest = lab.create("other")
    assert lab.store.get("latest").id == newest.id
    assert lab.store.get(first.folder).id == first.id
    assert lab.store.get("same").id in (first.id, second.id)
    assert lab.store.get(newest.id[:12].upper()).id == newest.id
    with pytest.raises(NotFoundError, match="there is no run 'nothing'"):
        lab.store.get("nothing")
    with pytest.raises(NotFoundError, match="there is no run ''"):
        lab.store.get("")


def test_find_returns_the_newest_first(lab):
    ids = []
    for _ in range(3):
        ids.append(lab.create().id)
        lab.clock.advance(1)
    assert [run.id for run in lab.store.find(RunFilter())] == ids[::-1]


def test_events_refuse_to_be_changed(lab):
    lab.create()
    for change in (update(run_events).values(kind="x"), delete(run_events)):
        with pytest.raises(Exception, match="append-only"), writing(lab.store.engine) as connection:
            connection.execute(change)
