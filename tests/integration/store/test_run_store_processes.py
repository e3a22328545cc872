"""Real processes at one store: all at once, killed, stopped and woken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from finetune30.config.schema import ExperimentConfig
from finetune30.store import LeaseKeeper, RunFilter, RunFolder, RunStatus, RunStore, open_store
from support.present import present

pytestmark = pytest.mark.integration

SUPPORT = Path(__file__).resolve().parents[2]
PROCESSES = 8

WORKER = """
import sys
from pathlib import Path
from finetune30.config.schema import ExperimentConfig
from finetune30.store import RunFilter, open_store

url, results = sys.argv[1], Path(sys.argv[2])
store = open_store(url)                      # eight at once on an empty database
for number in range(5):
    store.create(ExperimentConfig(experiment_name="trial"), kind="queued", results_root=results)
print("ready", flush=True)
sys.stdin.readline()
done = 0
while runs := store.queue(limit=3):          # all of them want the same runs
    for run in runs:
        claim = store.claim(run.id, lease_seconds=60)
        if claim:
            assert store.renew(claim, 60, {"step": 1}).held
            store.succeed(claim, {"eval_accuracy": 0.5, "train_runtime": 1.0}, "f" * 64)
            done += 1
print(done)
"""

HOLDER = """
import sys, time
from pathlib import Path
from finetune30.errors import Finetune30Error
from finetune30.store import LeaseKeeper, RunFolder, open_store

url, results, run_id, lease_seconds = sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
store = open_store(url)
claim = store.claim(run_id, lease_seconds=lease_seconds)
attempt = RunFolder(results / store.get(run_id).folder).open_attempt(claim.attempt)
(attempt.outbox / "metrics.json").write_text('{"eval_accuracy": 0.1}')
with LeaseKeeper(store, claim, lease_seconds=lease_seconds, heartbeat_seconds=lease_seconds / 6) as keeper:
    print("holding", flush=True)
    sys.stdin.readline()                     # the work
    deadline = time.monotonic() + 100
    while not keeper.lost and time.monotonic() < deadline:
        time.sleep(0.02)
    print("lost" if keeper.lost else "held", flush=True)
for act in (lambda: attempt.reveal("config.yaml", b"stale"), lambda: attempt.publish({}),
            lambda: store.succeed(claim, {}, "0" * 64)):
    try:
        act()
        print("done")
    except Finetune30Error as error:
        print(error.code)
with attempt.logs.open("a") as logs:
    logs.write("a line of a ghost\\n")
"""


@contextmanager
def python(code: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A Python process with pipes; it is gone when the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), *filter(None, sys.path)])},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def opened(database_url: str) -> Iterator[RunStore]:
    store = open_store(database_url)
    try:
        yield store
    finally:
        store.close()


def test_eight_processes_claim_every_run_once(database_url: str, tmp_path: Path) -> None:
    results = tmp_path / "results"
    with ExitStack() as stack:
        workers = [stack.enter_context(python(WORKER, database_url, results)) for _ in range(PROCESSES)]
        assert [present(worker.stdout).readline() for worker in workers] == ["ready\n"] * PROCESSES
        for worker in workers:
            present(worker.stdin).write("go\n")
            present(worker.stdin).flush()
        outputs = [worker.communicate(timeout=600)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * PROCESSES
    assert sum(map(int, outputs)) == PROCESSES * 5
    with opened(database_url) as store:
        runs = store.find(RunFilter(limit=1000))
        assert [(run.status, run.attempt) for run in runs] == [(RunStatus.SUCCEEDED, 1)] * PROCESSES * 5
        assert len({run.folder for run in runs}) == PROCESSES * 5
        for run in runs:
            assert [event.kind for event in store.events(run.id)] == ["created", "claimed", "succeeded"]


def test_killed_holder_of_a_local_run_is_found_at_once(database_url: str, tmp_path: Path) -> None:
    with opened(database_url) as store:
        run = store.create(ExperimentConfig(), kind="local", results_root=tmp_path / "results")
        with python(HOLDER, database_url, tmp_path / "results", run.id, "600") as holder:
            assert present(holder.stdout).readline() == "holding\n"
            assert store.reconcile() == []
            assert store.get(run.id).status is RunStatus.RUNNING
            holder.kill()
            holder.wait()
            assert [change.to_status for change in store.reconcile()] == [RunStatus.FAILED]
        error = present(store.get(run.id).error)
        assert error["error"] == "process_lost"
        assert error["remedy"].endswith(f"ft30 resume {run.id[:8]}")
        store.retry(run.id)
        assert present(store.claim(run.id, lease_seconds=60)).attempt == 2


def test_stopped_holder_that_wakes_up_changes_nothing(database_url: str, tmp_path: Path) -> None:
    results = tmp_path / "results"
    with opened(database_url) as store:
        run = store.create(ExperimentConfig(), kind="queued", results_root=results)
        with python(HOLDER, database_url, results, run.id, "5") as ghost:
            assert present(ghost.stdout).readline() == "holding\n"
            time.sleep(6)
            assert store.reconcile() == []  # it renews
            ghost.send_signal(signal.SIGSTOP)
            deadline = time.monotonic() + 160
            while not (changes := store.reconcile(patience_seconds=2)):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert [change.to_status for change in changes] == [RunStatus.QUEUED]
            claim = present(store.claim(run.id, lease_seconds=60))
            folder = RunFolder(results / run.folder)
            attempt = folder.open_attempt(claim.attempt)
            assert attempt.adopt() is None
            attempt.reveal("config.yaml", b"seed: 1\n")
            (attempt.outbox / "metrics.json").write_text('{"eval_accuracy": 0.9}')
            published = attempt.publish({})
            store.succeed(claim, published.metrics, published.manifest_sha256)
            before, events = store.get(run.id), store.events(run.id)
            ghost.send_signal(signal.SIGCONT)
            output, _ = ghost.communicate("\n", timeout=600)
        assert output.splitlines() == ["lost", "stale_attempt", "stale_attempt", "stale_attempt"]
        assert store.get(run.id) == before
        assert store.events(run.id) == events
        assert folder.load_published() == published
        assert folder.logs.read_text() == ""
        assert json.loads(folder.metrics.read_text()) == {"eval_accuracy": 0.9}


def test_lease_keeper_hears_of_cancellation_and_writes_progress(database_url: str, tmp_path: Path) -> None:
    with opened(database_url) as store:
        run = store.create(ExperimentConfig(), kind="queued", results_root=tmp_path / "results")
        claim = present(store.claim(run.id, lease_seconds=60))
        heard = []
        with LeaseKeeper(
            store, claim, lease_seconds=60, heartbeat_seconds=0.5, poll_seconds=0.1, on_cancel=lambda: heard.append(1)
        ) as keeper:
            for step in range(50):
                keeper.report({"step": step})
            store.request_cancel(run.id)
            deadline = time.monotonic() + 80
            while not keeper.cancel_requested and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.3)
        assert (keeper.cancel_requested, keeper.lost, heard) == (True, False, [1])
        assert store.get(run.id).progress == {"step": 49}
