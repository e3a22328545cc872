"""Which runs a worker passes over, and that it takes what comes behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from finetune30.jobs.refusals import MOST_REPORTED, Refusals
from finetune30.jobs.slots import DeviceSlots
from finetune30.jobs.supervisor import claim_next
from finetune30.store.database import reading, writing
from finetune30.store.tables import runs
from support.run_store_lab import Lab


@pytest.fixture
def places(tmp_path: Path) -> DeviceSlots:
    return DeviceSlots(("cpu", "cpu"), tmp_path / "locks")


def record(lab: Lab, name: str, section: str = "training", **keys: Any) -> str:
    """Record a run whose configuration holds these keys too, as another version may write them."""
    run_id = lab.create(name).id
    lab.clock.advance(1)
    with writing(lab.store.engine) as connection:
        config = connection.execute(select(runs.c.config).where(runs.c.id == run_id)).scalar_one()
        config[section] = config.get(section, {}) | keys
        connection.execute(update(runs).where(runs.c.id == run_id).values(config=config))
    return run_id


@pytest.mark.parametrize(
    ("section", "keys", "said"),
    [
        ("training", {"later_key": 3}, "training.later_key: unknown key"),
        ("later", {"key": 3}, "later: unknown key"),
        ("model", {"problem_type": "telepathy"}, "model.problem_type: 'telepathy' is not allowed, must be one of"),
        ("training", {"first": 1, "second": 2}, "training.first: unknown key; training.second: unknown key"),
    ],
)
def test_what_this_version_does_not_know_is_named(lab: Lab, section: str, keys: dict[str, Any], said: str) -> None:
    refusals = Refusals()
    assert str(refusals.explain(lab.store.get(record(lab, "ahead", section, **keys)))).startswith(said)
    assert refusals.explain(lab.store.get(record(lab, "plain"))) is None


def test_a_worker_takes_what_comes_behind_however_many_it_passes_over(lab: Lab, places: DeviceSlots) -> None:
    ahead = [record(lab, f"ahead{number}", later_key=number) for number in range(25)]
    behind = record(lab, "behind")
    refusals = Refusals()
    taken = claim_next(lab.store, "me", 60, places, refuses=refusals.explain)
    assert taken is not None
    assert taken[0].run_id == behind
    assert claim_next(lab.store, "me", 60, places, refuses=refusals.explain) is None
    with reading(lab.store.engine) as connection:
        untouched = connection.execute(select(runs.c.status, runs.c.attempt).where(runs.c.id.in_(ahead))).all()
    assert {tuple(row) for row in untouched} == {("QUEUED", 0)}
    assert set(refusals.of_waiting(lab.store.queue_places)) == set(ahead)
    lab.store.request_cancel(ahead[0])
    assert set(refusals.of_waiting(lab.store.queue_places)) == set(ahead[1:])


def test_only_so_many_reasons_are_kept(lab: Lab, places: DeviceSlots) -> None:
    refusals = Refusals()
    ids = [record(lab, f"ahead{number}", later_key=number) for number in range(MOST_REPORTED + 5)]
    assert claim_next(lab.store, "me", 60, places, refuses=refusals.explain) is None
    assert set(refusals.of_waiting(lambda: ids)) == set(ids[5:])


def test_a_reason_is_not_endless(lab: Lab) -> None:
    run = lab.store.get(record(lab, "ahead", "training", **{f"key_{number}": 1 for number in range(100)}))
    assert len(str(Refusals().explain(run))) == 300
