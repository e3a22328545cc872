"""A run in two processes from the queue: one attempt, one lease, two places, and the result of torchrun by hand."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune30.config.loading import load_config
from finetune30.service.runs.service_status import load_overview
from finetune30.service.submitting.replay import submit_replay
from finetune30.service.submitting.submission import retry_task, submit
from finetune30.store import RunStatus
from support.exactness import fingerprint
from support.gang import Gang
from support.members import find_members, wait_for_members, wait_until_gone
from support.patience import wait_until
from support.present import present
from support.services import Services, running_services

pytestmark = pytest.mark.integration

SUCCEEDED, CANCELLED, QUEUED = RunStatus.SUCCEEDED, RunStatus.CANCELLED, RunStatus.QUEUED
SLOWLY: dict[str, Any] = {"FT30_FAILPOINT": "training.after_step:1+:wait1"}
Bench = tuple[Services, Path, dict[str, Any]]


@pytest.fixture(scope="module")
def trained_by_hand(make_gang: Callable[..., Gang]) -> tuple[Gang, dict[str, Any]]:
    """A lab with a configuration for two processes, and the fingerprint of torchrun's run of it."""
    gang = make_gang({"training.num_train_epochs": 10, "training.early_stopping_patience": None})  # 20 steps
    first, second = gang.run("train", "--config", "config.yaml", results="by_hand", OMP_NUM_THREADS="1")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    two = (gang.lab.folder / "config.yaml").read_text() + "  processes: 2\n"
    (gang.lab.folder / "two.yaml").write_text(two)
    return gang, fingerprint(gang.lab.run_folder("by_hand"))


@pytest.fixture
def bench(
    trained_by_hand: tuple[Gang, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """Services with results of their own, the lab's configuration, and the fingerprint of its run by hand."""
    gang, by_hand = trained_by_hand
    monkeypatch.chdir(gang.lab.folder)
    own: dict[str, Any] = {"results_folder": tmp_path / "results", "stop_grace_seconds": 60.0}
    with running_services(gang.lab.folder, **own) as services:
        yield services, gang.lab.folder / "two.yaml", by_hand


def submit_two(services: Services, config: Path) -> str:
    loaded = load_config(config)
    return submit(
        services.store, loaded.config, services.settings, publisher=services.publisher, explicit=loaded.explicit
    ).run.id


def fingerprint_of(services: Services, run_id: str) -> dict[str, Any]:
    return fingerprint(services.settings.results_folder / services.store.get(run_id).folder)


def wait_for_checkpoint(services: Services, run_id: str) -> tuple[int, dict[int, int]]:
    """Wait for a checkpoint of the running attempt, and return the processes: that which started the others, those."""
    folder = services.settings.results_folder / services.store.get(run_id).folder / "attempts"

    def look() -> bool:
        run = services.store.get(run_id)
        saved = (folder / str(run.attempt)).glob("checkpoints/checkpoint-*")
        return run.status is RunStatus.RUNNING and any(saved)

    def find_starter() -> int | None:
        return next((pid for pid in services.attempt_processes() if find_members(pid)), None)

    wait_until(look, 120, "a checkpoint")  # of a later attempt it may be there before its processes
    starter = wait_until(find_starter, 120, "the processes of the attempt")
    return starter, wait_for_members(starter, 2)


def loss_of(services: Services, run_id: str) -> dict[str, Any]:
    """Return why the last attempt was lost; the row forgets it when the next one begins, which may be at once."""
    return present([event.detail for event in services.store.events(run_id) if event.kind == "lost"][-1])


def kinds_of(services: Services, run_id: str) -> list[str]:
    return [event.kind for event in services.store.events(run_id) if event.kind != "described"]


def test_it_is_one_attempt_on_two_places_and_its_replay_too(bench: Bench) -> None:
    services, config, by_hand = bench
    services.start_worker(concurrency=2, drill=None)
    run_id = submit_two(services, config)
    services.wait_for(run_id, RunStatus.RUNNING, seconds=120)
    (worker,) = load_overview(services.store)["workers"]
    assert (worker["slots"], worker["busy"], worker["runs"][0]["places"]) == (["cpu", "cpu"], 2, 2)
    run = services.wait_for(run_id, SUCCEEDED, seconds=300)
    assert (run.attempt, run.places, kinds_of(services, run_id)) == (1, 2, ["created", "claimed", "succeeded"])
    assert fingerprint_of(services, run_id) == by_hand

    again = submit_replay(services.store, run, services.settings, publisher=services.publisher).run
    assert again.places == 2
    again = services.wait_for(again.id, SUCCEEDED, seconds=300)
    report = json.loads((services.settings.results_folder / again.folder / "replay.json").read_text())
    assert (report["identical"], report["environment"]) == (True, [])


def test_it_is_cancelled_killed_and_handed_back_as_one_and_goes_on_bit_for_bit(bench: Bench) -> None:
    services, config, by_hand = bench
    services.start_worker(concurrency=2, drill=None, **SLOWLY)
    run_id = submit_two(services, config)
    starter, members = wait_for_checkpoint(services, run_id)
    services.store.request_cancel(run_id)
    services.wait_for(run_id, CANCELLED, seconds=120)
    wait_until_gone([starter, *members.values()])

    retry_task(services.store, run_id, publisher=services.publisher)
    starter, members = wait_for_checkpoint(services, run_id)
    os.kill(members[1], signal.SIGKILL)
    wait_until(lambda: services.store.get(run_id).failures == 1, 120, "the attempt is lost")
    assert loss_of(services, run_id)["error"] == "peer_lost"
    wait_until_gone([starter, *members.values()])

    starter, members = wait_for_checkpoint(services, run_id)
    os.kill(starter, signal.SIGKILL)
    wait_until(lambda: services.store.get(run_id).failures == 2, 120, "the attempt is lost")
    error = loss_of(services, run_id)
    assert (error["error"], "SIGKILL" in error["message"]) == ("process_crashed", True)
    wait_until_gone(members.values())

    starter, members = wait_for_checkpoint(services, run_id)
    assert services.stop_worker(seconds=60) == 0
    assert services.store.get(run_id).status is QUEUED
    wait_until_gone([starter, *members.values()])
    services.start_worker("two", concurrency=2, drill=None)
    services.wait_for(run_id, SUCCEEDED, seconds=300)
    lost = ["claimed", "lost"]
    assert kinds_of(services, run_id) == [
        *("created", "claimed", "cancel_requested", "cancelled", "retried", *lost, *lost),
        *("claimed", "released", "claimed", "succeeded"),
    ]
    assert fingerprint_of(services, run_id) == by_hand


def test_where_the_first_process_is_killed_the_attempt_is_lost_by_that_signal(bench: Bench) -> None:
    services, config, by_hand = bench
    services.start_worker(concurrency=2, drill=None, **SLOWLY)
    run_id = submit_two(services, config)
    _, members = wait_for_checkpoint(services, run_id)
    os.kill(members[0], signal.SIGKILL)
    wait_until(lambda: services.store.get(run_id).failures == 1, 120, "the attempt is lost")
    error = loss_of(services, run_id)
    assert (error["error"], "was ended by SIGKILL" in error["message"]) == ("process_crashed", True)
    wait_for_checkpoint(services, run_id)
    services.kill_worker()  # the starter and both processes die with it
    services.start_worker("two", concurrency=2, drill=None)
    services.wait_for(run_id, SUCCEEDED, seconds=300)
    assert fingerprint_of(services, run_id) == by_hand
