"""`ft30 runs` beside a training process: following a log to its end, and asking before deleting."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune30.config.schema import ExperimentConfig
from finetune30.store import open_store
from support.present import present

pytestmark = pytest.mark.integration

TRAINING = """
import sys, time
from pathlib import Path
from finetune30.config.schema import ExperimentConfig
from finetune30.store import RunFolder, open_store

store = open_store("sqlite:///results/experiments.db")
run = store.create(ExperimentConfig(experiment_name="followed"), kind="local", results_root=Path("results"))
claim = store.claim(run.id, lease_seconds=600)
logs = RunFolder(Path("results") / run.folder).open_attempt(claim.attempt).logs
for number in range(1000):
    with logs.open("a") as file:
        file.write(f"line {number}\\n")
    print(number, flush=True)
    sys.stdin.readline()
"""
FT30 = [sys.executable, "-m", "finetune30", "runs"]


def test_follow_shows_lines_as_they_come_and_ends_when_the_process_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TRAINING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as training:
        assert present(training.stdout).readline() == "0\n"
        with subprocess.Popen(
            [*FT30, "logs", "--follow"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as following:
            assert present(following.stdout).readline() == "line 0\n"
            present(training.stdin).write("\n")
            present(training.stdin).flush()
            assert present(following.stdout).readline() == "line 1\n"
            training.kill()
            out, err = following.communicate(timeout=600)
    assert (following.returncode, out) == (0, "")
    assert err.splitlines()[0].endswith(": RUNNING")
    assert err.splitlines()[-1].endswith(": FAILED")


def test_delete_asks_on_a_terminal() -> None:
    pty = pytest.importorskip("pty", reason="no pseudo-terminals on this system")
    store = open_store("sqlite:///results/experiments.db")
    run = store.create(ExperimentConfig(), kind="queued", results_root=Path("results"))
    for answer, code, stays in (("n", 130, True), ("y", 0, False)):
        controller, terminal = pty.openpty()
        os.write(controller, f"{answer}\n".encode())
        done = subprocess.run([*FT30, "delete", "latest"], stdin=terminal, capture_output=True, text=True, timeout=600)
        os.close(terminal)
        os.close(controller)
        assert done.returncode == code, done.stderr
        assert "Delete 1 run(s) with everything in them?" in done.stderr
        assert (Path("results") / run.folder).exists() == stays
    store.close()


def test_list_settles_a_run_whose_process_was_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TRAINING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as training:
        present(training.stdout).readline()
        training.kill()
    done = subprocess.run([*FT30, "list"], capture_output=True, text=True, timeout=600, check=True)
    assert "FAILED" in done.stdout
    assert "RUNNING" not in done.stdout
