"""Nobody waits while somebody else has more than their share, whatever comes and goes, on any number of places."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune30.jobs.slots import DeviceSlots
from finetune30.jobs.supervisor import claim_next
from finetune30.store import Claim, Run, RunStatus, RunStore
from support.run_store_lab import Lab

OWNERS = ("ann", "bob", "chi")
SUBMIT = st.tuples(st.just("submit"), st.sampled_from(OWNERS), st.sampled_from([0, 0, 0, 5]))
#: One of the running runs ends, and its place gets free.
END = st.tuples(st.just("end"), st.integers(0, 9), st.just(0))


def waiting_of(lab: Lab) -> list[Run]:
    return [run for run in lab.store.unpublished(1000, lab.clock.moment) if run.status is RunStatus.QUEUED]


def take(lab: Lab, most_running: int | None) -> Claim | None:
    lab.clock.advance(1)
    taken = claim_next(lab.store, "host:boot:1:1", 10_000, DeviceSlots(("cpu",), lab.results), most_running)
    return taken and taken[0]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(st.one_of(SUBMIT, SUBMIT, END), min_size=5, max_size=40),
    places=st.integers(1, 4),
    most_running=st.none() | st.integers(1, 3),
)
def test_a_place_goes_to_whoever_has_the_least(
    steps: list[tuple[str, object, int]], places: int, most_running: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(f"sqlite:///{folder}/runs.db", Path(folder))
        running: dict[str, Claim] = {}
        owner_of: dict[str, str] = {}
        served: dict[str, int] = {}
        for moment, (what, who, priority) in enumerate(steps):
            lab.clock.advance(1)
            if what == "submit":
                run = lab.create(f"run {moment}", submitted_by=str(who), priority=priority)
                owner_of[run.id] = str(who)
                kept, derived = (
                    lab.store.queue_places(most_running),
                    RunStore(lab.store.engine).queue_places(most_running),
                )
                assert list(kept.items()) == list(derived.items())
            elif running:
                claim = running.pop(sorted(running)[int(str(who)) % len(running)])
                lab.store.cancelled(claim)
            while len(running) < places:
                waiting = waiting_of(lab)
                shares = Counter(owner_of[run_id] for run_id in running)
                taken = take(lab, most_running)
                may = [run for run in waiting if most_running is None or shares[str(run.submitted_by)] < most_running]
                if taken is None:
                    assert not may
                    break
                chosen = lab.store.get(taken.run_id)
                owner = str(chosen.submitted_by)
                equals = [run for run in may if run.priority == max(run.priority for run in may)]
                assert chosen.id in [run.id for run in equals]
                fewest = min(shares[str(run.submitted_by)] for run in equals)
                assert shares[owner] == fewest
                longest_ago = min(
                    served.get(str(run.submitted_by), -1) for run in equals if shares[str(run.submitted_by)] == fewest
                )
                assert served.get(owner, -1) == longest_ago
                own = [run for run in equals if run.submitted_by == chosen.submitted_by]
                assert chosen.queued_at == min(run.queued_at for run in own)
                running[taken.run_id] = taken
                served[owner] = moment
                lab.clock.advance(1)
        lab.store.close()


def test_one_place_goes_round(lab: Lab) -> None:
    """A hundred runs of one submitter do not keep another one waiting for more than one of them."""
    for number in range(6):
        lab.create(f"many {number}", submitted_by="ann")
        lab.clock.advance(1)
    late = [lab.create(f"late {number}", submitted_by="bob").id for number in range(2)]
    order = []
    while claim := take(lab, None):
        order.append(lab.store.get(claim.run_id).submitted_by)
        lab.store.cancelled(claim)
    assert order == ["ann", "bob", "ann", "bob", "ann", "ann", "ann", "ann"]
    assert lab.store.queue_position(late[0]) is None


def test_places_say_what_will_be_taken(lab: Lab) -> None:
    ann = []
    for number in range(3):
        ann.append(lab.create(f"a{number}", submitted_by="ann").id)
        lab.clock.advance(1)
    bob = lab.create("b", submitted_by="bob").id
    urgent = lab.create("c", submitted_by="ann", priority=5).id
    expected = [urgent, bob, *ann]
    assert [run.id for run in lab.store.queue()] == expected
    assert [lab.store.queue_position(run_id) for run_id in expected] == [1, 2, 3, 4, 5]


def test_a_limit_holds_runs_until_one_has_ended(lab: Lab) -> None:
    first = lab.create("first", submitted_by="ann").id
    lab.clock.advance(1)
    second = lab.create("second", submitted_by="ann").id
    claim = take(lab, 1)
    assert claim is not None
    assert claim.run_id == first
    assert take(lab, 1) is None
    place = lab.store.queue_place(second, 1)
    assert place is not None
    assert (place.number, place.is_held) == (1, True)
    assert lab.store.claim(second, owner="host:boot:1:1", lease_seconds=60, most_running=1) is None
    other = lab.create("other", submitted_by="bob").id
    held, free = lab.store.queue_place(second, 1), lab.store.queue_place(other, 1)
    assert held is not None
    assert free is not None
    assert (held.number, free.number) == (2, 1)
    lab.store.cancelled(claim)
    taken = [take(lab, 1), take(lab, 1)]
    assert {claim.run_id for claim in taken if claim} == {second, other}
