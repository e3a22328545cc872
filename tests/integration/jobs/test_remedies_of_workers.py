"""What is said about an attempt that ended badly is done to the letter, by real workers, and its run then succeeds."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from finetune30.config import ExperimentConfig
from finetune30.jobs import attempt_process
from finetune30.jobs.slots import DeviceSlots
from finetune30.jobs.supervisor import supervise
from finetune30.service.submitting.submission import submit
from finetune30.store import RunStatus
from support.drill import drill_variables
from support.patience import wait_until
from support.present import present
from support.services import Services, running_services

pytestmark = pytest.mark.integration

FAILED, RUNNING, SUCCEEDED = RunStatus.FAILED, RunStatus.RUNNING, RunStatus.SUCCEEDED


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with running_services(tmp_path) as started:
        yield started


def type_line(services: Services, line: str, code: int = 0) -> str:
    """Run a line `ft30 …` with the services' settings; return what it printed."""
    name, *words = line.split()
    assert name == "ft30", line
    command = [sys.executable, "-m", "finetune30", *words]
    done = subprocess.run(
        command,
        env=services.environment(),
        cwd=services.folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def kill_attempts(services: Services, run_id: str) -> None:
    """Kill every attempt of a run until it is given up."""
    for attempt in (1, 2, 3):
        wait_until(partial(_takes_steps, services, run_id, attempt), 60, f"attempt {attempt} works")
        os.kill(services.attempt_processes()[0], signal.SIGKILL)
    services.wait_for(run_id, FAILED)


def _takes_steps(services: Services, run_id: str, attempt: int) -> bool:
    run = services.store.get(run_id)
    log = services.settings.results_folder / run.folder / "attempts" / str(attempt) / "logs.txt"
    return run.attempt == attempt and run.status is RUNNING and log.is_file() and len(services.attempt_processes()) == 1


def error_of(services: Services, run_id: str) -> dict[str, Any]:
    return dict(present(services.store.get(run_id).error))


def test_a_killed_attempt_is_looked_at_and_tried_again(services: Services) -> None:
    run = services.submit(steps=60).run
    services.start_worker(drill=0.2)
    kill_attempts(services, run.id)
    short = run.id[:8]
    assert error_of(services, run.id)["remedy"] == (
        f"see ft30 runs logs {short} and ft30 runs show {short}; try again with: ft30 retry {short}"
    )
    assert "DRILL" in type_line(services, f"ft30 runs logs {short}")
    assert "SIGKILL" in type_line(services, f"ft30 runs show {short}")
    services.stop_worker()
    services.start_worker("two", drill=0.01)
    type_line(services, f"ft30 retry {short}")
    assert present(services.wait_for(run.id, SUCCEEDED).metrics)["total_steps"] == 60


def test_what_a_crashed_attempt_printed_last_is_shown(services: Services) -> None:
    run = services.submit("drill-crash").run
    services.start_worker()
    services.wait_for(run.id, FAILED)
    assert "Segmentation fault" in type_line(services, f"ft30 runs show {run.id[:8]}")


def test_an_attempt_that_needs_longer_is_given_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its processes are stopped while they still load, before they write a line, however late the worker looks.
    slow = "import sys, time\nif 'attempt' in sys.orig_argv:\n    time.sleep(600)\n"
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text(slow)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "slow"), os.environ.get("PYTHONPATH", "")]))
    with running_services(tmp_path, no_progress_seconds=0.2) as services:
        run = services.submit(steps=1).run
        services.start_worker()
        services.wait_for(run.id, FAILED, seconds=120)
        short = run.id[:8]
        assert error_of(services, run.id)["remedy"] == (
            f"look at its log: ft30 runs logs {short}; if it only needs longer, raise FT30_NO_PROGRESS_SECONDS of its "
            f"worker (0: no limit), then: ft30 retry {short}"
        )
        assert "or see why it did not: ft30 runs show RUN" in type_line(services, f"ft30 runs logs {short}", code=1)
        assert "took no step and wrote no line for 0 s" in type_line(services, f"ft30 runs show {short}")
        services.stop_worker()
        monkeypatch.undo()
        services.start_worker("two", FT30_NO_PROGRESS_SECONDS="0")
        type_line(services, f"ft30 retry {short}")
        services.wait_for(run.id, SUCCEEDED)


@pytest.mark.parametrize("way", ["less", "more memory"])
def test_a_run_that_memory_ended_is_submitted_with_less_or_tried_again_with_more(
    services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    # Only the system can run out of memory, and no test may let it: what it counts stands in a file of this test.
    counted = tmp_path / "memory.events"
    counted.write_text("low 0\noom_kill 4\n")
    monkeypatch.setattr(attempt_process, "_CGROUP_EVENTS", counted)
    for name, value in {**services.environment(), **drill_variables(0.5)}.items():
        monkeypatch.setenv(name, value)
    run = services.submit(steps=60).run
    for number in (1, 2, 3):
        _run_out_of_memory(services, run.id, counted, number)
    short, error = run.id[:8], error_of(services, run.id)
    assert (services.store.get(run.id).status, error["error"]) == (FAILED, "memory_killed")
    assert error["remedy"] == (
        "submit it anew with a lower data.max_length, or a lower training.per_device_train_batch_size and as much "
        f"higher training.gradient_accumulation_steps; or give the machine more memory, then: ft30 retry {short}"
    )
    services.start_worker(drill=0.01)
    if way == "more memory":
        type_line(services, f"ft30 retry {short}")
        services.wait_for(run.id, SUCCEEDED)
        return
    before = ExperimentConfig.model_validate(run.config)
    less = before.as_tree()
    less["data"]["max_length"] = before.data.max_length // 2
    less["training"]["per_device_train_batch_size"] = before.training.per_device_train_batch_size // 2
    less["training"]["gradient_accumulation_steps"] = 2 * before.training.gradient_accumulation_steps
    config = ExperimentConfig.model_validate(less)
    services.wait_for(submit(services.store, config, services.settings, publisher=services.publisher).run.id, SUCCEEDED)


def _run_out_of_memory(services: Services, run_id: str, counted: Path, number: int) -> None:
    """Let an attempt be killed as the system kills one for its memory: SIGKILL, and one more in its count."""
    claim = present(services.store.claim(run_id, lease_seconds=60))
    assert claim.attempt == number

    def kill() -> None:
        pid = wait_until(services.attempt_processes, 60, "the attempt is there")[0]
        counted.write_text(f"low 0\noom_kill {4 + number}\n")
        os.kill(pid, signal.SIGKILL)

    killing = threading.Thread(target=kill)
    killing.start()
    slot = present(DeviceSlots(("cpu",), counted.parent).take())
    supervise(services.store, claim, services.settings, slot, threading.Event())
    killing.join(60)


def test_a_submitted_run_is_followed_and_trained_here_again_as_is_printed(services: Services) -> None:
    rows = "--train_samples 40 --eval_samples 20"
    said = type_line(services, f"ft30 submit --preset starter --training.max_steps 2 {rows}")
    (line,) = [line for line in said.splitlines() if line.startswith("follow it:")]
    command = line.partition(":")[2].strip()
    found = re.fullmatch(r"ft30 runs logs (\w+) --follow", command)
    assert found is not None, line
    services.start_worker(drill=0.05)
    assert "nothing is trained" in type_line(services, command)
    submitted = services.store.get(found[1])
    assert submitted.status is SUCCEEDED
    (kept,) = services.settings.submitted_folder.glob("temp_*.yaml")
    (line,) = [line for line in kept.read_text().splitlines() if "ft30 train --config" in line]
    type_line(services, line.lstrip("# "))
    again = services.store.get("latest")
    assert (again.kind, again.status) == ("local", SUCCEEDED)
    before, now = (ExperimentConfig.model_validate(run.config) for run in (submitted, again))
    assert (now.data, now.training, now.lora) == (before.data, before.training, before.lora)
