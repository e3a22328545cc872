"""The long form of the proof: thousands of drill runs while workers, Redis and PostgreSQL are killed at random.

    make chaos ARGS="--jobs 2000 --seed 7"        python tests/chaos.py --jobs 500 --postgres

Submitters hand in runs all the time, also while Redis is down; some runs are cancelled. Every few seconds something is
killed (kill -9), paused past its lease, flushed, or killed at a fail point. In the end an independent checker reads the
event log. Prints the seed, which repeats the same sequence of misfortunes. Exit code 1 for any breach.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finetune30.errors import ConflictError, Finetune30Error
from finetune30.store import Run, RunFilter, RunStatus
from support.event_checker import check
from support.services import Services, running_services

FAIL_POINTS = (
    "claim.after_row", "heartbeat", "supervisor.after_end", "drill.after_checkpoint", "disk.write",
    "publish.before_manifest", "publish.after_manifest", "publish.after_each_move", "publish.before_last_move",
    "publish.before_row",
)  # fmt: skip
MISFORTUNES = {
    "worker killed": 5, "attempt killed": 4, "redis killed": 3, "redis flushed": 2, "worker paused past its lease": 2,
    "killed at a fail point": 5, "message doubled": 2, "message forged": 1, "cancelled": 2, "worker stopped": 1,
}  # fmt: skip


class Chaos:
    """Submits, breaks, repairs, and remembers what it did."""

    def __init__(self, services: Services, jobs: int, workers: int, seed: int, postgres: Any | None) -> None:
        self.services, self.jobs, self.postgres = services, jobs, postgres
        self.names = [f"w{number}" for number in range(workers)]
        self.random = random.Random(seed)
        self.accepted: list[str] = []
        self.refused = self.slowest_submit = 0.0
        self.done: Counter[str] = Counter()
        self.recoveries: list[float] = []
        self._bereaved: dict[str, tuple[int, float]] = {}  # run id -> (attempt that was killed, moment)
        self._paused: list[tuple[float, int]] = []
        self._stop = threading.Event()

    def run(self, pause: tuple[float, float]) -> None:
        submitter = threading.Thread(target=self._submit_all)
        submitter.start()
        for name in self.names:
            self.services.start_worker(name, drill=0.02)
        due = time.monotonic() + self.random.uniform(*pause)
        told = 0.0
        while submitter.is_alive() or self._open_runs():
            time.sleep(0.2)
            self._keep_up()
            if time.monotonic() > due and submitter.is_alive() | (self._open_runs() > self.jobs * 0.02):
                self._strike()
                due = time.monotonic() + self.random.uniform(*pause)
            if time.monotonic() - told > 30:
                told = time.monotonic()
                struck = sum(self.done.values())
                print(f"{len(self.accepted)} accepted, {self._open_runs()} open, {struck} misfortunes", flush=True)
        submitter.join()

    # --- submitting

    def _submit_all(self) -> None:
        while len(self.accepted) < self.jobs:
            started = time.monotonic()
            try:
                steps = self.random.randint(1, 4)
                self.accepted.append(self.services.submit(f"drill{len(self.accepted)}", steps=steps).run.id)
            except Finetune30Error:
                self.refused += 1  # the database was away: nothing was promised
                time.sleep(0.2)
            self.slowest_submit = max(self.slowest_submit, time.monotonic() - started)
            if len(self.accepted) > 100:
                time.sleep(0.05)

    # --- breaking

    def _strike(self) -> None:
        weights = {**MISFORTUNES, "postgres killed": 3 * bool(self.postgres)}
        what = self.random.choices(list(weights), list(weights.values()))[0]
        name = self.random.choice(self.names)
        with suppress(ProcessLookupError, Finetune30Error, OSError):
            self._do(what, name)
            self.done[what] += 1

    def _do(self, what: str, name: str) -> None:
        services = self.services
        worker = services.workers.get(name)
        if what == "worker killed" and worker:
            self._mourn(worker.pid)
            services.kill_worker(name)
        elif what == "worker stopped" and worker:
            worker.terminate()
        elif what == "attempt killed":
            os.kill(self.random.choice(services.attempt_processes() or [2**22]), signal.SIGKILL)
        elif what == "redis killed":
            services.kill_redis()
            time.sleep(self.random.uniform(0, 5))
            services.start_redis()
        elif what == "redis flushed":
            services.flush_redis()
        elif what == "worker paused past its lease" and worker:
            for pid in (worker.pid, *services.attempt_processes()):
                os.kill(pid, signal.SIGSTOP)
                self._paused.append((time.monotonic() + services.settings.lease_seconds * 1.5, pid))
        elif what == "killed at a fail point" and worker:
            services.kill_worker(name)
            point = f"{self.random.choice(FAIL_POINTS)}:{self.random.randint(1, 3)}"
            services.start_worker(name, drill=0.02, FT30_FAILPOINT=point)
            threading.Timer(6.0, self._replace, (name, services.workers[name])).start()
        elif what == "message doubled" and self.accepted:
            for run_id in self.random.choices(self.accepted, k=5):
                services.publisher.publish(run_id)
        elif what == "message forged":
            services.push("junk", '{"body": "x"}', "[1]")
        elif what == "cancelled" and self.accepted:
            with suppress(ConflictError):
                services.store.request_cancel(self.random.choice(self.accepted[-200:]))
        elif what == "postgres killed":
            self.postgres.kill_and_restart()

    def _replace(self, name: str, doomed: Any) -> None:
        if self.services.workers.get(name) is doomed:
            with suppress(ProcessLookupError):
                doomed.kill()

    def _mourn(self, pid: int) -> None:
        for run in self._running():
            if run.lease_owner and run.lease_owner.split(":")[2] == str(pid):
                self._bereaved[run.id] = (run.attempt, time.time())

    # --- repairing

    def _keep_up(self) -> None:
        """Start dead workers again, as their supervisor would; let paused ones go on; see what became of the rest."""
        now = time.monotonic()
        for moment, pid in list(self._paused):
            if now > moment:
                self._paused.remove((moment, pid))
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        for name in self.names:
            worker = self.services.workers.get(name)
            if worker is None or worker.poll() is not None:
                self.services.start_worker(name, drill=0.02)
        with suppress(Finetune30Error):
            self._look_at_bereaved()
            failed = RunFilter(statuses=frozenset({RunStatus.FAILED}))
            for run in self.services.store.find(failed):  # three misfortunes in a row: a person tries again
                self.done["retried after three lost attempts"] += 1
                self.services.store.retry(run.id)

    def _look_at_bereaved(self) -> None:
        for run_id, (attempt, moment) in list(self._bereaved.items()):
            claimed = [
                event for event in self.services.store.events(run_id)
                if event.kind == "claimed" and event.attempt == attempt + 1
            ]  # fmt: skip
            if claimed:
                self.recoveries.append((claimed[0].at - datetime.fromtimestamp(moment, UTC)).total_seconds())
            if claimed or self.services.store.get(run_id).status.is_final:
                del self._bereaved[run_id]

    def _running(self) -> list[Run]:
        return self.services.store.find(RunFilter(statuses=frozenset({RunStatus.RUNNING})))

    def _open_runs(self) -> int:
        with suppress(Finetune30Error):
            by_status = self.services.store.stats().by_status
            return by_status.get("QUEUED", 0) + by_status.get("RUNNING", 0)
        return self.jobs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--every", type=float, nargs=2, default=(2.0, 10.0), metavar=("LEAST", "MOST"))
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL, which is killed too")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}: {options.jobs} runs, {options.workers} workers", flush=True)
    started = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ft30-chaos-")))
        postgres = None
        if options.postgres:
            from support.killable_postgres import KillablePostgres

            postgres = stack.enter_context(KillablePostgres())
        services = stack.enter_context(running_services(folder, postgres.url if postgres else None))
        chaos = Chaos(services, options.jobs, options.workers, seed, postgres)
        chaos.run(tuple(options.every))
        seconds = time.monotonic() - started
        for name in list(services.workers):
            services.kill_worker(name)
        verdict = check(services.settings.resolved_database_url, services.settings.results_folder, chaos.accepted)
    print(f"seed {seed}, {seconds:.0f} s, {len(chaos.accepted)} runs accepted, {chaos.refused:.0f} refused while the "
          f"database was away, slowest answer to a submit {chaos.slowest_submit:.2f} s")  # fmt: skip
    print("misfortunes:", ", ".join(f"{count} {what}" for what, count in chaos.done.most_common()))
    if chaos.recoveries:
        print(f"killed worker to next attempt: {len(chaos.recoveries)} times, longest {max(chaos.recoveries):.1f} s")
    print(verdict.summary())
    for breach in verdict.breaches:
        print("BREACH", breach)
    return bool(verdict.breaches)


if __name__ == "__main__":
    sys.exit(main())
