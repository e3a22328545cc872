"""What a later version writes into rows, and this one does not know, is read without a fault."""

from __future__ import annotations

from sqlalchemy import insert, select, update

from finetune30.service.runs.service_status import load_overview
from finetune30.service.submitting.status import load_task
from finetune30.store import RunFilter, RunStatus
from finetune30.store.database import reading, writing
from finetune30.store.process_identity import own_identity
from finetune30.store.records import utc_now
from finetune30.store.tables import run_events, runs, workers
from finetune30.store.workers import load_workers, report_worker
from support.run_store_lab import Lab

LATER = {"later": {"deep": [1, None, "text"]}}


def test_json_columns_with_unknown_keys_are_handed_on_as_they_are(lab: Lab) -> None:
    done, running = lab.create("done"), lab.create("running")
    for run in (done, running):
        claim = lab.store.claim(run.id, owner=own_identity(), lease_seconds=600)
        assert claim is not None
        lab.store.renew(claim, 600, {"step": 1, "total_steps": 2, "percent": 50.0, **LATER})
        if run is done:
            assert lab.store.succeed(claim, {"eval_accuracy": 0.5, **LATER}, "0" * 64) is RunStatus.SUCCEEDED
    with writing(lab.store.engine) as connection:
        known = connection.execute(select(runs.c.config).where(runs.c.id == done.id)).scalar_one()
        connection.execute(
            update(runs).values(
                config=known | LATER, error={"error": "later_code", "message": "m", "remedy": "r", **LATER}
            )
        )
    found = lab.store.get(done.id)
    assert (found.metrics or {})["later"] == (found.progress or {})["later"] == found.config["later"] == LATER["later"]
    assert found.score == 0.5
    assert {run.id for run in lab.store.find(RunFilter(statuses=frozenset({RunStatus.RUNNING})))} == {running.id}
    assert load_task(lab.store, done.id, None)["status"] == RunStatus.SUCCEEDED
    assert load_overview(lab.store)["runs"]["RUNNING"] == 1
    assert lab.store.stats().total == 2


def test_events_of_an_unknown_kind_are_handed_on(lab: Lab) -> None:
    run = lab.create()
    row = {"run_id": run.id, "at": utc_now(), "kind": "later_kind", "attempt": 0, "detail": LATER}
    with writing(lab.store.engine) as connection:
        connection.execute(insert(run_events).values(**row))
    last = lab.store.events(run.id)[-1]
    assert (last.kind, last.detail, last.to_status) == ("later_kind", LATER, None)
    assert lab.store.reconcile() == []


def test_a_worker_of_before_tells_no_version_and_takes_part(lab: Lab) -> None:
    now = utc_now()
    lab.clock.moment = now
    with writing(lab.store.engine) as connection:  # as the release before writes it
        row = {"owner": "elsewhere:boot:1:1", "node": "old", "slots": ["cpu"], "started_at": now, "seen_at": now}
        connection.execute(insert(workers).values(**row))
    report_worker(lab.store, own_identity(), "new", ("cpu",), draining=True, refused={"a" * 32: "training.x: unknown"})
    new, old = load_workers(lab.store)
    assert (old.version, old.draining, dict(old.refused)) == (None, False, {})
    assert (new.draining, dict(new.refused)) == (True, {"a" * 32: "training.x: unknown"})
    with reading(lab.store.engine) as connection:
        assert connection.execute(select(workers.c.version).where(workers.c.node == "new")).scalar_one()
