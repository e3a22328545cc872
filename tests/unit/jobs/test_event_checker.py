"""The judge of the proof is itself tried: every kind of breach is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import insert, update

from finetune30.config import ExperimentConfig
from finetune30.store import RunFolder, open_store
from finetune30.store.database import writing
from finetune30.store.records import utc_now
from finetune30.store.tables import run_events, runs
from support.event_checker import check
from support.present import present


@pytest.fixture
def finished(tmp_path: Path):
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    run = store.create(ExperimentConfig(), kind="queued", results_root=tmp_path)
    claim = present(store.claim(run.id, lease_seconds=60))
    attempt = RunFolder(tmp_path / run.folder).open_attempt(1)
    (attempt.outbox / "metrics.json").write_text("{}")
    published = attempt.publish({})
    store.succeed(claim, {}, published.manifest_sha256)
    yield store, store.get(run.id), tmp_path
    store.close()


def judge(finished, accepted=()):
    return check(str(finished[0].engine.url), finished[2], accepted)


def add_event(finished, **values):
    store, run, _ = finished
    row = {"run_id": run.id, "at": utc_now(), "attempt": 1, "owner": None, **values}
    with writing(store.engine) as connection:
        connection.execute(insert(run_events).values(**row))


def test_clean_run_has_no_breach(finished):
    verdict = judge(finished, [finished[1].id])
    assert (verdict.breaches, verdict.endings, verdict.attempts) == ([], {"SUCCEEDED": 1}, 1)


def test_missing_and_unfinished_runs_are_lost(finished):
    finished[0].create(ExperimentConfig(), kind="queued", results_root=finished[2])
    assert len(judge(finished, ["f" * 32]).lost) == 2


def test_second_success_is_recorded_twice_and_illegal(finished):
    add_event(finished, kind="succeeded", from_status="RUNNING", to_status="SUCCEEDED")
    verdict = judge(finished)
    assert verdict.recorded_twice == [finished[1].id]
    assert len(verdict.illegal) == 1


def test_write_of_a_replaced_attempt_or_another_owner_is_stale(finished):
    add_event(finished, kind="described", from_status="RUNNING", to_status="RUNNING", attempt=0)
    add_event(finished, kind="described", from_status="RUNNING", to_status="RUNNING", owner="somebody else")
    assert len(judge(finished).stale_writes) == 2


def test_row_that_contradicts_its_events_is_illegal(finished):
    store, run, _ = finished
    with writing(store.engine) as connection:
        connection.execute(update(runs).where(runs.c.id == run.id).values(status="FAILED"))
    assert any("the row says FAILED" in breach for breach in judge(finished).illegal)


def test_changed_and_missing_files_are_damage(finished):
    _, run, root = finished
    (root / run.folder / "metrics.json").write_text("[]")
    assert len(judge(finished).damaged) == 1
    (root / run.folder / "manifest.json").unlink()
    assert len(judge(finished).damaged) == 1


def test_work_that_goes_on_after_a_wish_to_stop_is_illegal(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    run = store.create(ExperimentConfig(), kind="queued", results_root=tmp_path)
    claim = present(store.claim(run.id, lease_seconds=60))
    store.request_cancel(run.id)
    judged = store, store.get(run.id), tmp_path
    add_event(judged, kind="released", from_status="RUNNING", to_status="QUEUED", owner=claim.owner)
    add_event(judged, kind="claimed", from_status="QUEUED", to_status="RUNNING", attempt=2)
    add_event(judged, kind="cancelled", from_status="RUNNING", to_status="CANCELLED", attempt=2)
    with writing(store.engine) as connection:
        connection.execute(update(runs).where(runs.c.id == run.id).values(status="CANCELLED", attempt=2))
    (breach,) = judge(judged).illegal
    assert "it was asked to stop before" in breach
    store.close()
