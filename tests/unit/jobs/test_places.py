"""Runs that need several places of one worker: all or none, in the order of the queue, and nobody waits without end."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune30.config import ExperimentConfig
from finetune30.jobs.slots import DeviceSlots, Slot
from finetune30.jobs.supervisor import claim_next
from finetune30.store import Claim, Run, RunStatus
from support.present import present
from support.run_store_lab import Lab

SUBMIT = st.tuples(st.just("submit"), st.sampled_from(["ann", "bob", "chi"]), st.integers(1, 4))
#: One of the running runs ends, and its places get free.
END = st.tuples(st.just("end"), st.integers(0, 9), st.just(0))


@dataclass
class Worker:
    """A worker's places and what it carries out."""

    owner: str
    slots: DeviceSlots
    running: dict[str, tuple[Claim, Slot]] = field(default_factory=dict)

    def take(self, lab: Lab) -> str | None:
        lab.clock.advance(1)
        taken = claim_next(lab.store, self.owner, 1_000_000, self.slots)
        if taken is None:
            return None
        self.running[taken[0].run_id] = taken
        return taken[0].run_id

    def end(self, lab: Lab, run_id: str) -> None:
        claim, slot = self.running.pop(run_id)
        lab.store.cancelled(claim)
        self.slots.give_back(slot)


def submit(lab: Lab, owner: str, processes: int) -> Run:
    lab.clock.advance(1)
    config = ExperimentConfig.model_validate({"experiment_name": "many", "training": {"processes": processes}})
    return lab.store.create(config, kind="queued", results_root=lab.results, submitted_by=owner)


def let_all_take(lab: Lab, workers: list[Worker]) -> None:
    """Every worker takes what it may: each time the first run for which it has places at all, or nothing."""
    for worker in workers:
        total = len(worker.slots.devices)
        while True:
            able = [run for run in lab.store.queue(1000) if run.places <= total]
            free = worker.slots.free
            taken = worker.take(lab)
            if taken is None:
                assert not able or able[0].places > free
                break
            assert taken == able[0].id
            assert free - worker.slots.free == able[0].places == len(worker.running[taken][1].devices)
    assert lab.store.busy_places() == {worker.owner: len(worker.slots.busy) for worker in workers if worker.slots.busy}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(st.one_of(SUBMIT, SUBMIT, END), min_size=5, max_size=30),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
)
def test_places_are_taken_all_or_none_and_what_fits_is_carried_out(
    steps: list[tuple[str, object, int]], sizes: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(f"sqlite:///{folder}/runs.db", Path(folder))
        workers = [
            Worker(f"host:boot:{number}:1", DeviceSlots(("cpu",) * size, Path(folder)))
            for number, size in enumerate(sizes)
        ]
        for what, who, processes in steps:
            if what == "submit":
                submit(lab, str(who), processes)
            else:
                running = [(worker, run_id) for worker in workers for run_id in worker.running]
                if running:
                    worker, run_id = running[int(str(who)) % len(running)]
                    worker.end(lab, run_id)
            let_all_take(lab, workers)
        while any(worker.running for worker in workers):  # whoever runs ends some day, whatever waits for its places
            for worker in workers:
                for run_id in list(worker.running):
                    worker.end(lab, run_id)
            let_all_take(lab, workers)
        left = [run.places for run in lab.store.queue(1000)]
        assert all(places > max(sizes) for places in left)
        lab.store.close()


def test_a_share_is_counted_in_places(tmp_path: Path) -> None:
    """One run on three places is more than two runs on one each: the next turn is that of whoever has fewer places."""
    lab = Lab(f"sqlite:///{tmp_path}/runs.db", tmp_path)
    worker = Worker("host:boot:1:1", DeviceSlots(("cpu",) * 8, tmp_path))
    for owner, processes in (("ann", 3), ("bob", 1), ("bob", 1)):
        submit(lab, owner, processes)
    for _ in range(3):
        assert worker.take(lab)
    ann, bob = submit(lab, "ann", 1).id, submit(lab, "bob", 1).id
    assert [worker.take(lab), worker.take(lab)] == [bob, ann]
    large, small = submit(lab, "chi", 4).id, submit(lab, "ann", 1).id
    assert [run.id for run in lab.store.queue()] == [large, small]
    assert worker.take(lab) is None, "one place is free, and it is kept"
    assert [run.id for run in lab.store.queue(most_places=3)] == [small], "what another worker would take"
    lab.store.close()


def test_a_run_that_is_queued_again_takes_as_many_places_as_its_record_says(tmp_path: Path) -> None:
    lab = Lab(f"sqlite:///{tmp_path}/runs.db", tmp_path)
    run = lab.store.create(ExperimentConfig(), kind="local", results_root=tmp_path)
    claim = present(lab.store.claim(run.id, lease_seconds=60))
    two = ExperimentConfig.model_validate({"training": {"processes": 2}}).as_tree()
    lab.store.describe(claim, config=two, config_digest="0" * 64)
    lab.store.cancelled(claim)
    assert (run.places, lab.store.retry(run.id, kind="queued").places) == (1, 2)
    lab.store.close()


def test_who_is_told_what_while_places_are_gathered(tmp_path: Path) -> None:
    from finetune30.service.submitting.waiting import count_waits, explain_wait
    from finetune30.store.process_identity import own_identity
    from finetune30.store.workers import report_worker

    lab = Lab(f"sqlite:///{tmp_path}/runs.db", tmp_path)
    worker = Worker(own_identity(), DeviceSlots(("cpu",) * 2, tmp_path))
    report_worker(lab.store, worker.owner, "here", worker.slots.devices)
    submit(lab, "ann", 1)
    assert worker.take(lab)
    runs = [submit(lab, owner, processes) for owner, processes in (("bob", 2), ("chi", 1), ("dan", 3))]
    places = lab.store.queue_places()
    told = [explain_wait(lab.store, run, places[run.id], None) for run in runs]
    codes = ["gathering", "places_kept", "too_few_places"]
    assert ([tell["code"] for tell in told], [tell["needed"] for tell in told]) == (codes, [2, 1, 3])
    assert told[0]["message"] == (
        "it needs 2 places of one worker at a time; free ones are kept until there are as many; busy are 1 of 2; "
        "runs before it: 0"
    )
    counted = Counter({code: count for code, count in count_waits(lab.store, None).items() if count})
    assert counted == dict.fromkeys(codes, 1)
    worker.end(lab, next(iter(worker.running)))
    places = lab.store.queue_places()
    told = [explain_wait(lab.store, run, places[run.id], None) for run in runs[:2]]
    assert [tell["code"] for tell in told] == ["starting", "places_busy"]
    assert lab.store.get(runs[0].id).status is RunStatus.QUEUED
    lab.store.close()
