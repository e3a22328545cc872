"""PAUSED runs: a state of their own here, CANCELLED to releases that do not know it, gone on with or stopped once."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from finetune30.errors import ConflictError, StaleAttemptError
from finetune30.store import Run, RunStatus
from finetune30.store.records import RunFilter
from finetune30.store.tables import run_events, runs
from finetune30.store.totals import load_run_totals
from support.run_store_lab import Lab

RUNG = {"step": 2, "total_steps": 6, "metrics": {"eval_accuracy": 0.5}}


def pause(lab: Lab, name: str = "trial", **options: object) -> Run:
    run = lab.create(name, pause_at=0.33, **options)
    claim = lab.store.claim(run.id, lease_seconds=60)
    assert claim is not None
    assert lab.store.pause(claim, RUNG) is RunStatus.PAUSED
    with pytest.raises(StaleAttemptError):  # its place is free, and the attempt has nothing to say any more
        lab.store.pause(claim, RUNG)
    return lab.store.get(run.id)


def test_a_paused_run_is_told_from_a_cancelled_one_and_stands_as_cancelled_for_older_releases(lab: Lab) -> None:
    run = pause(lab)
    cancelled = lab.store.request_cancel(lab.create("other").id)
    assert (run.status, run.paused, run.lease_owner) == (RunStatus.PAUSED, RUNG, None)
    assert not run.status.is_final
    found = {
        status: [one.id for one in lab.store.find(RunFilter(statuses=frozenset({status})))]
        for status in (RunStatus.PAUSED, RunStatus.CANCELLED)
    }
    assert found == {RunStatus.PAUSED: [run.id], RunStatus.CANCELLED: [cancelled.id]}
    both = frozenset({RunStatus.PAUSED, RunStatus.CANCELLED, RunStatus.FAILED})
    assert lab.store.count(RunFilter(statuses=both)) == 2
    for counts in (lab.store.stats().by_status, load_run_totals(lab.store).by_status):
        assert (counts["PAUSED"], counts["CANCELLED"], sum(counts.values())) == (1, 1, 2)
    assert [str(event.to_status) for event in lab.store.events(run.id)][-1] == "PAUSED"
    with lab.store.engine.connect() as connection:
        stored = connection.execute(select(runs.c.status).where(runs.c.id == run.id)).scalar_one()
        written = connection.execute(select(run_events.c.to_status).where(run_events.c.run_id == run.id)).scalars()
        assert {stored, *written} <= {"QUEUED", "RUNNING", "CANCELLED"}


def test_nothing_but_a_decision_takes_a_paused_run_up_and_a_decision_counts_once(lab: Lab) -> None:
    run = pause(lab)
    lab.clock.advance(1e6)
    assert (lab.store.reconcile(), lab.store.queue()) == ([], [])
    assert lab.store.claim(run.id, lease_seconds=60) is None
    with pytest.raises(ConflictError, match="is PAUSED: only FAILED and CANCELLED runs can be tried again"):
        lab.store.retry(run.id)
    assert [lab.store.promote(run, 0.66), lab.store.promote(run, 0.66), lab.store.stop_paused(run, "late")] == [
        *(True, False, False)
    ]
    queued = lab.store.get(run.id)
    assert (queued.status, queued.pause_at) == (RunStatus.QUEUED, 0.66)
    assert lab.store.stats().by_status["PAUSED"] == 0
    again = lab.store.claim(run.id, lease_seconds=60)
    assert again is not None
    assert again.attempt == 2
    lab.store.pause(again, RUNG | {"step": 4})
    assert not lab.store.promote(run, None), "it was read at an earlier pause"
    assert lab.store.stop_paused(lab.store.get(run.id), "clearly worse")
    stopped = lab.store.get(run.id)
    assert (stopped.status, stopped.pause_at) == (RunStatus.CANCELLED, None)
    event = lab.store.events(run.id)[-1]
    assert (event.kind, str(event.from_status), event.detail) == ("stopped", "PAUSED", {"reason": "clearly worse"})
    assert lab.store.retry(run.id).status is RunStatus.QUEUED


def test_a_person_may_cancel_it_and_a_cancelled_attempt_does_not_pause(lab: Lab) -> None:
    run = pause(lab)
    assert lab.store.request_cancel(run.id).status is RunStatus.CANCELLED
    assert lab.store.stats().by_status["CANCELLED"] == 1
    assert lab.store.retry(run.id, pauses=True).pause_at == 0.33, "it pauses there again"
    claim = lab.store.claim(run.id, lease_seconds=60)
    assert claim is not None
    lab.store.request_cancel(run.id)
    assert lab.store.pause(claim, RUNG) is RunStatus.CANCELLED


def test_a_person_who_takes_a_run_up_trains_it_to_its_end_since_nobody_waits_to_decide_on_it(lab: Lab) -> None:
    run = pause(lab)
    lab.store.request_cancel(run.id)
    assert lab.store.retry(run.id).pause_at is None
    failed = lab.create("failed", pause_at=0.33)
    claim = lab.store.claim(failed.id, lease_seconds=60)
    assert claim is not None
    lab.store.fail(claim, {"message": "out of memory"})
    assert lab.store.retry(failed.id).pause_at is None


def test_a_local_run_belongs_to_whoever_promotes_it(lab: Lab) -> None:
    run = pause(lab, kind="local")
    assert lab.store.promote(run, None)
    assert lab.store.get(run.id).lease_owner is not None


def test_a_release_that_does_not_know_the_state_may_take_the_run_up(lab: Lab) -> None:
    run = pause(lab)
    with lab.store.engine.begin() as connection:  # as its retry writes: paused_at is no column of it
        connection.execute(update(runs).where(runs.c.id == run.id).values(status="QUEUED", finished_at=None))
    assert lab.store.get(run.id).status is RunStatus.QUEUED
    assert not lab.store.promote(run, None)
    claim = lab.store.claim(run.id, lease_seconds=60)
    assert claim is not None
    lab.store.cancelled(claim)
    assert lab.store.get(run.id).status is RunStatus.CANCELLED


def test_what_such_a_release_cancels_does_not_stick_as_paused(lab: Lab) -> None:
    run = pause(lab)
    lab.clock.advance(60)
    ended = {"status": "CANCELLED", "finished_at": lab.clock.moment, "cancel_requested": True}
    with lab.store.engine.begin() as connection:  # it took the run up and cancelled it: paused_at is no column of it
        connection.execute(update(runs).where(runs.c.id == run.id).values(**ended))
    assert lab.store.get(run.id).status is RunStatus.CANCELLED
    assert not lab.store.promote(run, None)
    found = lab.store.find(RunFilter(statuses=frozenset({RunStatus.CANCELLED})))
    assert [one.id for one in found] == [run.id]
    assert lab.store.stats().by_status["PAUSED"] == 0
