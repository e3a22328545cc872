"""The lease keeper gives an attempt up when it must."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from finetune30.errors import StorageError
from finetune30.store import LeaseKeeper, open_store
from finetune30.store.process_identity import own_identity
from support.present import present

OWNER = "elsewhere:boot:1:1"
FAST: dict[str, Any] = {"lease_seconds": 4.0, "heartbeat_seconds": 0.05, "poll_seconds": 0.02}


def wait_for(condition) -> bool:
    deadline = time.monotonic() + 80
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


def test_keeper_renews_the_lease(lab):
    claim = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=4.0)
    lab.clock.advance(100)
    with LeaseKeeper(lab.store, claim, **FAST) as keeper:
        assert wait_for(lambda: lab.store.get(claim.run_id).lease_until > lab.clock.moment)
    assert not keeper.lost
    assert lab.store.reconcile() == []


def test_a_clock_that_was_set_forward_costs_a_living_process_nothing(lab):
    """Its holder lives here and goes on renewing; only a lease that nobody renews is lost, in a second look."""
    holder = open_store(str(lab.store.engine.url), lambda: lab.clock.moment - timedelta(hours=2))
    claim = present(holder.claim(lab.create().id, owner=own_identity(), lease_seconds=60))
    for _ in range(3):
        holder.renew(claim, 60)
        assert lab.store.reconcile(patience_seconds=0) == []
        lab.clock.advance(15)
    assert lab.store.get(claim.run_id).attempt == 1
    assert [change.run_id for change in lab.store.reconcile(patience_seconds=0)] == [claim.run_id]
    holder.close()


def test_a_silent_holder_of_this_host_is_given_the_patience(lab):
    run_id = lab.create().id
    lab.store.claim(run_id, owner=own_identity(), lease_seconds=60)
    lab.clock.advance(61)
    assert [lab.store.reconcile(patience_seconds=600) for _ in range(3)] == [[], [], []]
    assert [change.run_id for change in lab.store.reconcile(patience_seconds=0)] == [run_id]


def test_keeper_is_lost_when_another_attempt_holds_the_run(lab):
    claim = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=60)
    lab.clock.advance(61)
    lab.store.reconcile()
    reasons: list[str] = []
    with LeaseKeeper(lab.store, claim, **FAST, on_lost=reasons.append) as keeper:
        assert wait_for(lambda: keeper.lost)
    assert reasons == ["another attempt holds the run"]


class Unreachable:
    """A store whose database is out of reach for some calls."""

    def __init__(self, store, failures: float) -> None:
        self.store, self.failures = store, failures

    def renew(self, *arguments):
        if self.failures > 0:
            self.failures -= 1
            raise StorageError("database: out of reach")
        return self.store.renew(*arguments)

    def lease(self, claim):
        return self.store.lease(claim)


def unreachable(store, times) -> Any:
    return Unreachable(store, times)


def test_keeper_outlives_a_short_outage_and_keeps_the_progress(lab):
    claim = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=60)
    with LeaseKeeper(
        unreachable(lab.store, 3), claim, lease_seconds=60, heartbeat_seconds=0.05, poll_seconds=0.02
    ) as keeper:
        keeper.report({"step": 4})
        assert wait_for(lambda: lab.store.get(claim.run_id).progress == {"step": 4})
    assert not keeper.lost


def test_keeper_writes_the_newest_progress_when_it_ends(lab):
    claim = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=60)
    with LeaseKeeper(lab.store, claim, lease_seconds=60, heartbeat_seconds=60, poll_seconds=60) as keeper:
        keeper.report({"step": 9, "last_evaluation": {"eval_accuracy": 1.0}})
    assert lab.store.get(claim.run_id).progress == {"step": 9, "last_evaluation": {"eval_accuracy": 1.0}}


def test_keeper_gives_up_before_the_lease_of_an_unreachable_database_ends(lab):
    claim = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=60)
    started = time.monotonic()
    reasons: list[str] = []
    with LeaseKeeper(
        unreachable(lab.store, float("inf")), claim, **{**FAST, "lease_seconds": 0.4}, on_lost=reasons.append
    ) as keeper:
        assert wait_for(lambda: keeper.lost)
    assert time.monotonic() - started >= 0.3
    assert reasons == ["the database was out of reach for too long: database: out of reach"]


def test_a_change_waits_for_a_database_that_is_away_and_not_longer_than_the_lease_allows(lab):
    claim = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=60)
    answers = iter([StorageError("database: restarting"), StorageError("database: restarting"), None])

    def change() -> str:
        if (error := next(answers)) is not None:
            raise error
        return "recorded"

    def refuse() -> None:
        raise StorageError("database: out of reach")

    assert LeaseKeeper(lab.store, claim, **FAST).insist(change) == "recorded"
    with pytest.raises(StorageError, match="out of reach"):
        LeaseKeeper(lab.store, claim, **{**FAST, "lease_seconds": 0.2}).insist(refuse)


class Silent:
    """A store whose database answers nothing until it is told to, as behind a cable that was pulled."""

    def __init__(self) -> None:
        self.answers = threading.Event()

    def renew(self, *_: object) -> Any:
        self.answers.wait()
        raise StorageError("database: the connection was closed")

    lease = renew


def test_keeper_gives_up_in_time_when_the_database_does_not_answer_at_all(lab):
    claim = lab.store.claim(lab.create().id, owner=OWNER, lease_seconds=60)
    silent: Any = Silent()
    reasons: list[str] = []
    with LeaseKeeper(silent, claim, **{**FAST, "lease_seconds": 0.4}, on_lost=reasons.append) as keeper:
        assert wait_for(lambda: keeper.lost)
    assert reasons == ["the database was out of reach for too long: it did not answer"]
    silent.answers.set()
