"""The state machine under any sequence of calls: only legal transitions, and stale claims change nothing."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune30.errors import ConflictError, NotFoundError, StaleAttemptError
from finetune30.store import Claim, RunStatus

Q, R, S, F, C = (RunStatus(name) for name in ("QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"))
LEGAL = {(None, Q), (Q, R), (Q, C), (Q, F), (R, R), (R, Q), (R, S), (R, F), (R, C), (F, Q), (C, Q)}
ERROR = {"error": "process_lost", "message": "gone", "remedy": "again"}
LEASE_SECONDS = 60
ACTIONS = (
    "claim claim claim renew succeed fail fail_again cancelled release describe request_cancel retry advance reconcile"
).split()


class Model:
    """What the store must say about one run, from the calls made so far."""

    def __init__(self, lab, kind: str) -> None:
        self.lab, self.store = lab, lab.store
        self.run = lab.create(kind=kind, **({"owner": "elsewhere:boot:1:1"} if kind == "local" else {}))
        self.kind = kind
        self.status, self.attempt, self.failures, self.cancel = Q, 0, 0, False
        self.lease_until = lab.clock.moment.timestamp() + 300 if kind == "local" else None
        self.claims: list[Claim] = []

    def check(self) -> None:
        run = self.store.get(self.run.id)
        assert (run.status, run.attempt, run.failures, run.cancel_requested) == (
            self.status,
            self.attempt,
            self.failures,
            self.cancel,
        )
        assert (run.status is R) <= (run.lease_until is not None and run.lease_owner is not None)
        assert run.status.is_final == (run.finished_at is not None and run.lease_until is None)
        events = self.store.events(self.run.id)
        steps = [(event.from_status, event.to_status) for event in events]
        assert set(steps) <= LEGAL
        assert all(before.to_status == after.from_status for before, after in pairwise(events))
        assert events[-1].to_status is run.status
        assert [event.attempt for event in events] == sorted(event.attempt for event in events)

    def now(self) -> float:
        return self.lab.clock.moment.timestamp()

    def claim(self, _chosen) -> None:
        owner = f"elsewhere:boot:{len(self.claims)}:1"
        claim = self.store.claim(self.run.id, owner=owner, lease_seconds=LEASE_SECONDS)
        if self.status is not Q:
            assert claim is None
            return
        self.attempt += 1
        assert claim == Claim(self.run.id, self.attempt, owner)
        self.status, self.lease_until = R, self.now() + LEASE_SECONDS
        self.claims.append(claim)

    def with_claim(self, chosen, call, outcome) -> None:
        """Call with any claim ever given; only the present holder's may change anything."""
        if not self.claims:
            return
        claim = chosen.choice(self.claims)
        if self.status is R and claim.attempt == self.attempt:
            call(claim)
            outcome()
            return
        before, events = self.store.get(self.run.id), self.store.events(self.run.id)
        with pytest.raises(StaleAttemptError):
            call(claim)
        assert self.store.get(self.run.id) == before
        assert self.store.events(self.run.id) == events

    def end(self, status: RunStatus) -> None:
        self.status, self.lease_until = status, None

    def lose(self) -> None:
        self.failures += 1
        if self.cancel:
            self.end(C)
        elif self.kind == "local" or self.failures >= 3:
            self.end(F)
        else:
            self.end(Q)

    def renew(self, chosen) -> None:
        if not self.claims:
            return
        claim = chosen.choice(self.claims)
        held = self.status is R and claim.attempt == self.attempt
        before = self.store.get(self.run.id)
        lease = self.store.renew(claim, LEASE_SECONDS, {"step": chosen.randrange(9)})
        assert (lease.held, lease.cancel_requested) == (held, self.cancel)
        assert self.store.lease(claim) == lease
        if held:
            self.lease_until = self.now() + LEASE_SECONDS
        else:
            assert self.store.get(self.run.id) == before

    def succeed(self, chosen) -> None:
        done = C if self.cancel else S
        self.with_claim(
            chosen, lambda c: self.store.succeed(c, {"eval_accuracy": 0.5}, "f" * 64), lambda: self.end(done)
        )

    def fail(self, chosen) -> None:
        self.with_claim(chosen, lambda c: self.store.fail(c, ERROR), lambda: self.end(F))

    def fail_again(self, chosen) -> None:
        self.with_claim(chosen, lambda c: self.store.fail(c, ERROR, may_retry=True), self.lose)

    def cancelled(self, chosen) -> None:
        self.with_claim(chosen, self.store.cancelled, lambda: self.end(C))

    def describe(self, chosen) -> None:
        self.with_claim(chosen, lambda c: self.store.describe(c, device="cpu"), lambda: None)

    def release(self, chosen) -> None:
        def released() -> None:
            self.end(C if self.cancel else Q)
            if self.kind == "local" and self.status is Q:
                self.lease_until = self.now() + 300

        self.with_claim(chosen, lambda c: self.store.release(c, "stopping"), released)

    def request_cancel(self, _chosen) -> None:
        if self.status in (S, F):
            with pytest.raises(ConflictError, match=f"is {self.status}"):
                self.store.request_cancel(self.run.id)
            return
        self.store.request_cancel(self.run.id)
        if self.status is Q:
            self.cancel = True
            self.end(C)
        elif self.status is R:
            self.cancel = True

    def retry(self, _chosen) -> None:
        if self.status not in (F, C):
            with pytest.raises(ConflictError, match=f"is {self.status}"):
                self.store.retry(self.run.id)
            return
        self.store.retry(self.run.id, owner="elsewhere:boot:1:1")
        self.status, self.failures, self.cancel = Q, 0, False
        self.lease_until = self.now() + 300 if self.kind == "local" else None

    def advance(self, chosen) -> None:
        self.lab.clock.advance(chosen.choice([1, 59.5, 61, 301]))

    def reconcile(self, _chosen) -> None:
        lost = self.lease_until is not None and self.lease_until < self.now()
        changes = [change for change in self.store.reconcile() if change.run_id == self.run.id]
        assert len(changes) == lost
        if lost:
            self.lose()
            assert changes[0].to_status is self.status


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["queued", "local"]),
    actions=st.lists(st.sampled_from(ACTIONS), min_size=5, max_size=30),
    seed=st.integers(0, 2**32),
)
def test_any_sequence_of_calls_keeps_to_the_states(lab, kind, actions, seed):
    chosen = random.Random(seed)
    model = Model(lab, kind)
    for action in actions:
        getattr(model, action)(chosen)
        model.check()
    if model.status is R:
        with pytest.raises(ConflictError, match="cannot be deleted"):
            lab.store.delete(model.run.id, lab.results)
        return
    lab.store.delete(model.run.id, lab.results)
    with pytest.raises(NotFoundError, match="there is no run"):
        lab.store.get(model.run.id)
