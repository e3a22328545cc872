"""Why a run waits, in every case, and that a task says it."""

from __future__ import annotations

from finetune30.service.submitting.status import load_task
from finetune30.service.submitting.waiting import count_waits
from finetune30.store.process_identity import own_identity
from finetune30.store.workers import report_worker
from support.run_store_lab import Lab

#: No run waits for anything.
WAITS = dict.fromkeys(
    (
        *("no_worker", "other_version", "running_limit", "too_few_places"),
        *("gathering", "places_kept", "places_busy", "starting"),
    ),
    0,
)


def why(lab: Lab, run_id: str, most_running: int | None = None) -> tuple[str, str]:
    waiting = load_task(lab.store, run_id, most_running)["waiting"]
    return waiting["code"], waiting["message"]


def test_every_reason_is_told(lab: Lab) -> None:
    first = lab.create("first", submitted_by="ann").id
    lab.clock.advance(1)
    second = lab.create("second", submitted_by="ann").id
    code, message = why(lab, first)
    assert code == "no_worker"
    assert message == "no worker is running; start one with: ft30 worker"
    report_worker(lab.store, own_identity(), "here", ("cpu", "cpu"))
    assert why(lab, second) == ("starting", "a worker with a free place takes it in a moment; runs before it: 1")
    lab.store.claim(first, owner=own_identity(), lease_seconds=60)
    assert why(lab, second, 1) == (
        "running_limit",
        "ann has 1 run running, and FT30_MAX_RUNNING_RUNS allows 1 at a time",
    )
    lab.store.claim(lab.create("third", submitted_by="bob").id, owner=own_identity(), lease_seconds=60)
    assert why(lab, second) == ("places_busy", "all places are busy: 2 of 2; runs before it: 0")
    assert load_task(lab.store, first)["waiting"] is None


def test_places_of_a_draining_worker_are_free_for_nobody(lab: Lab) -> None:
    running, waits = lab.create("running").id, lab.create("waits").id
    report_worker(lab.store, own_identity(), "here", ("cpu", "cpu"))
    lab.store.claim(running, owner=own_identity(), lease_seconds=60)
    assert why(lab, waits)[0] == "starting"
    report_worker(lab.store, own_identity(), "here", ("cpu", "cpu"), draining=True)
    assert why(lab, waits)[0] == "no_worker"
    report_worker(lab.store, "elsewhere:boot:1:1", "there", ("cpu",))
    assert why(lab, waits) == ("starting", "a worker with a free place takes it in a moment; runs before it: 0")
    lab.store.claim(lab.create("third").id, owner="elsewhere:boot:1:1", lease_seconds=60)
    assert why(lab, waits) == ("places_busy", "all places are busy: 2 of 2; runs before it: 0")
    assert count_waits(lab.store, None) == WAITS | {"places_busy": 1}


def test_a_run_that_every_worker_refuses_says_what_they_do_not_know(lab: Lab) -> None:
    run_id, other = lab.create("ahead").id, lab.create("plain").id
    fault = "training.later_key: unknown key"
    report_worker(lab.store, own_identity(), "here", ("cpu",), refused={run_id: fault})
    assert why(lab, run_id) == (
        "other_version",
        f"no running worker can read its configuration ({fault}); start one of the version that recorded it, or cancel "
        f"it: ft30 cancel {run_id[:8]}",
    )
    assert why(lab, other)[0] == "starting"
    assert count_waits(lab.store, None) == WAITS | {"other_version": 1, "starting": 1}
    report_worker(lab.store, "elsewhere:boot:1:1", "there", ("cpu",))
    assert why(lab, run_id)[0] == "starting", "one of them takes it"
    assert count_waits(lab.store, None) == WAITS | {"starting": 2}
