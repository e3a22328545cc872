"""A worker that drains takes nothing new, lets its runs end, says so, and ends itself; a stop after it still stops."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from finetune30.store import RunStatus
from finetune30.store.workers import load_workers
from support.patience import patient, wait_until
from support.services import Services, running_services

pytestmark = pytest.mark.integration

QUEUED, RUNNING, SUCCEEDED = RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCEEDED


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with running_services(tmp_path) as services:
        yield services


def drain(services: Services, name: str = "one") -> subprocess.Popen[bytes]:
    worker = services.workers[name]
    worker.send_signal(signal.SIGUSR2)
    wait_until(lambda: [seen.draining for seen in load_workers(services.store)] == [True], 60, "it says that it drains")
    return worker


def events(services: Services, run_id: str) -> list[str]:
    return [event.kind for event in services.store.events(run_id)]


def test_a_draining_worker_ends_with_its_run_and_takes_no_other(services: Services) -> None:
    services.start_api()
    services.start_worker()
    first = services.submit_held()
    services.wait_for(first, RUNNING)
    worker = drain(services)
    second = services.submit("second").run.id
    status = subprocess.run(
        [sys.executable, "-m", "finetune30", "status"],
        env=services.environment(), cwd=services.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "worker  one [cpu; 1 of 1 busy] draining: " in status.stdout, status.stdout + status.stderr
    services.wait_for_api()
    told = httpx.get(f"{services.api_address}/status").json()
    assert [worker["draining"] for worker in told["workers"]] == [True]
    waiting = httpx.get(f"{services.api_address}/task/{second}").json()["waiting"]
    assert (waiting["code"], waiting["places"]) == ("no_worker", 1), "one place, that of the run that ends"

    assert services.store.get(first).status is RUNNING, "it was not disturbed"
    services.let_go()
    assert worker.wait(patient(180)) == 0
    services.workers.pop("one")
    assert services.store.get(first).status is SUCCEEDED
    assert events(services, first).count("claimed") == 1
    assert "released" not in events(services, first)
    assert (services.store.get(second).status, services.store.get(second).attempt) == (QUEUED, 0)
    assert load_workers(services.store) == []
    services.start_worker("two")
    services.wait_for(second, SUCCEEDED, seconds=120)


def test_a_draining_worker_that_is_stopped_hands_its_run_back(services: Services) -> None:
    services.start_worker()
    run_id = services.submit_held()
    services.wait_for(run_id, RUNNING)
    worker = drain(services)
    worker.terminate()
    assert worker.wait(patient(60)) == 0
    services.workers.pop("one")
    assert services.store.get(run_id).status is QUEUED
    assert "released" in events(services, run_id)


def test_a_worker_drains_without_redis_too(services: Services) -> None:
    services.start_worker()
    services.wait_for_worker()
    services.kill_redis()
    run_id = services.submit_held()
    services.wait_for(run_id, RUNNING)
    worker = drain(services)
    services.let_go()
    assert worker.wait(patient(180)) == 0
    services.workers.pop("one")
    assert services.store.get(run_id).status is SUCCEEDED
    assert events(services, run_id).count("claimed") == 1


def test_a_worker_with_nothing_to_do_ends_at_once(services: Services) -> None:
    services.start_worker()
    services.wait_for_worker()
    worker = services.workers.pop("one")
    worker.send_signal(signal.SIGUSR2)
    assert worker.wait(patient(60)) == 0
    log = (services.folder / "worker-one.log").read_text()
    assert "draining: nothing new is taken; this worker ends with its attempts" in log
    assert json.dumps(load_workers(services.store)) == "[]"
