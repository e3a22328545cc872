"""What a waiting run is said to wait for is what it waits for: real workers, one submitter with a limit."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from finetune30.service.submitting.status import load_task
from finetune30.store import RunStatus
from support.drill import drill_variables
from support.patience import wait_until
from support.present import present
from support.services import Services, running_services

pytestmark = pytest.mark.integration

SUCCEEDED = RunStatus.SUCCEEDED


def why(services: Services, run_id: str) -> str | None:
    waiting = load_task(services.store, run_id, services.settings.max_running_runs)["waiting"]
    return None if waiting is None else str(waiting["message"])


def times(services: Services, run_id: str) -> tuple[datetime, datetime]:
    run = services.store.get(run_id)
    return present(run.started_at), present(run.finished_at)


def test_a_run_begins_once_the_command_that_is_named_was_typed(tmp_path: Path) -> None:
    with running_services(tmp_path) as services:
        run_id = services.submit().run.id
        said = present(why(services, run_id))
        assert said == "no worker is running; start one with: ft30 worker"
        line = said.partition(": ")[2].split()
        assert line[0] == "ft30"
        environment = services.environment(**drill_variables(0.05))
        worker = subprocess.Popen([sys.executable, "-m", "finetune30", *line[1:]], env=environment, cwd=tmp_path)
        services.workers["one"] = worker  # ends with the services
        services.wait_for(run_id, SUCCEEDED, seconds=300)
        assert why(services, run_id) is None


def test_the_limit_that_is_named_holds_runs_and_a_higher_one_lets_them_go(tmp_path: Path) -> None:
    with running_services(tmp_path, max_running_runs=1) as services:
        ids = services.submit_many(3, steps=4)
        services.start_worker(concurrency=2, drill=0.1)
        said = "this machine has 1 run running, and FT30_MAX_RUNNING_RUNS allows 1 at a time"
        wait_until(lambda: why(services, ids[-1]) == said, 60, "the last one is held")
        services.wait_for_all(300)
        spans = sorted(times(services, run_id) for run_id in ids)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans)), spans
        services.stop_worker()

        ids = services.submit_many(2, steps=20)
        services.start_worker("two", concurrency=2, drill=0.2, FT30_MAX_RUNNING_RUNS="2")
        services.wait_for_all(300)
        (_, end), (begin, _) = sorted(times(services, run_id) for run_id in ids)
        assert begin < end, "they ran beside each other"


def test_a_run_that_no_worker_has_places_for_waits_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    with running_services(tmp_path) as services:
        services.start_worker(drill=0.05)
        services.wait_for_worker()
        large, small = services.submit(processes=2).run.id, services.submit().run.id
        services.wait_for(small, SUCCEEDED, seconds=300)
        waiting = present(load_task(services.store, large)["waiting"])
        assert (waiting["code"], waiting["needed"], waiting["largest"]) == ("too_few_places", 2, 1)
        line = present(re.search(r"on CPUs: (ft30 worker .*?)\)", str(waiting["message"])))[1].split()
        environment = services.environment(**drill_variables(0.05))
        command = [sys.executable, "-m", "finetune30", *line[1:], "--name", "two"]
        services.workers["two"] = subprocess.Popen(command, env=environment, cwd=tmp_path)  # ends with the services
        services.wait_for(large, SUCCEEDED, seconds=300)


def test_free_places_are_kept_for_a_run_that_needs_several(tmp_path: Path) -> None:
    """Smaller runs behind a large one begin after it, although there was a free place for one of them before."""
    with running_services(tmp_path) as services:
        long, short = services.submit_held(submitted_by="ann"), services.submit(submitted_by="ann").run.id
        services.start_worker(concurrency=2, drill=0.2)
        services.wait_for(short, RunStatus.RUNNING, SUCCEEDED, seconds=300)
        large = services.submit(processes=2, submitted_by="bob").run.id
        behind = services.submit(submitted_by="ann").run.id
        services.wait_for(short, SUCCEEDED, seconds=300)
        codes = [present(load_task(services.store, run_id)["waiting"])["code"] for run_id in (large, behind)]
        assert codes == ["gathering", "places_kept"]
        services.let_go()
        services.wait_for_all(300)
        begin, end = times(services, large)
        assert begin >= times(services, long)[1]
        assert times(services, behind)[0] >= end
