"""The long form of the proof: thousands of drill runs while everything around them is killed at random.

    make chaos ARGS="--jobs 2000 --seed 7"        python tests/chaos.py --jobs 500 --postgres

Clients hand runs in over HTTP, each under an Idempotency-Key and again until it is answered; some runs are cancelled.
Every few seconds something is killed (kill -9: API, worker, attempt, Redis, PostgreSQL), paused past its lease,
flushed, or killed at a fail point. In the end an independent checker reads the event log. Prints the seed, which
repeats the same sequence of misfortunes. Exit code 1 for any breach.
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
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finetune30.errors import ConflictError, Finetune30Error
from finetune30.store import Run, RunFilter, RunStatus
from support.event_checker import check, load_recorded
from support.patient_client import PatientClient, UnansweredError, total_tries
from support.present import present
from support.services import Services, running_services

FAIL_POINTS = (
    "claim.before_row", "claim.after_row", "heartbeat", "supervisor.after_end", "drill.before_checkpoint",
    "drill.after_checkpoint", "disk.write", "publish.before_manifest", "publish.after_manifest",
    "publish.after_each_move", "publish.before_last_move", "publish.before_row", "finish.after_row",
)  # fmt: skip
API_FAIL_POINTS = ("before_row", "after_row", "before_message", "after_message", "before_answer")
CLIENTS = 4
MISFORTUNES = {
    "worker killed": 5, "attempt killed": 4, "redis killed": 3, "redis flushed": 2, "worker paused past its lease": 2,
    "API killed": 4, "API killed at a fail point": 2, "killed at a fail point": 5, "message doubled": 2,
    "message forged": 1, "cancelled": 2, "worker stopped": 1,
}  # fmt: skip


class Chaos:
    """Submits, breaks, repairs, and remembers what it did."""

    fail_points: Sequence[str] = FAIL_POINTS
    fail_point_seconds = 6.0  # so long a worker waits for the point at which it dies, before it is killed anywhere
    api_fail_points: Sequence[str] = tuple(f"submit.{point}" for point in API_FAIL_POINTS)

    def __init__(self, services: Services, jobs: int, workers: int, seed: int, postgres: Any | None) -> None:
        self.services, self.jobs, self.postgres = services, jobs, postgres
        self.names = [f"w{number}" for number in range(workers)]
        self.seed, self.random = seed, random.Random(seed)
        self.submit_until, self.skipped = 0.0, list[int]()
        self.broken_keys: list[str] = []
        self.accepted: list[str] = []
        self.clients = [PatientClient(services.api_address) for _ in range(CLIENTS)]
        self.done: Counter[str] = Counter()
        self.recoveries: list[float] = []
        self._bereaved: dict[str, tuple[int, float]] = {}  # run id -> (attempt that was killed, moment)
        self._paused: list[tuple[float, int]] = []

    def run(self, pause: tuple[float, float], seconds: float) -> None:
        self.submit_until = time.monotonic() + seconds
        self.services.start_api()
        submitters = [threading.Thread(target=self._submit, args=(number,)) for number in range(CLIENTS)]
        for submitter in submitters:
            submitter.start()
        for name in self.names:
            self.start_worker(name)
        due = time.monotonic() + self.random.uniform(*pause)
        told = 0.0
        while (submitting := any(submitter.is_alive() for submitter in submitters)) or self.goes_on():
            time.sleep(0.2)
            self._keep_up()
            if time.monotonic() > due and (submitting or self.may_strike()):
                self._strike()
                due = time.monotonic() + self.random.uniform(*pause)
            if time.monotonic() - told > 30:
                told = time.monotonic()
                struck = sum(self.done.values())
                print(f"{len(self.accepted)} accepted, {self._open_runs()} open, {struck} misfortunes", flush=True)

    # --- what a chaos of more than drills does otherwise

    def start_worker(self, name: str, **environment: Any) -> None:
        self.services.start_worker(name, drill=0.02, **environment)

    def goes_on(self) -> bool:
        return bool(self._open_runs())

    def may_strike(self) -> bool:
        return self._open_runs() > self.jobs * 0.02

    def list_failed(self) -> list[Run]:
        """Return the runs that a person would try again after three lost attempts."""
        return self.services.store.find(RunFilter(statuses=frozenset({RunStatus.FAILED})))

    # --- submitting

    def _submit(self, number: int) -> None:
        """Hand in every fourth run, some of them twice, and never run far ahead of the workers."""
        chosen = random.Random(f"{self.seed} {number}")
        with self.clients[number] as client, suppress(UnansweredError):  # its missing runs are told of in the end
            for job in range(number, self.jobs, CLIENTS):
                if time.monotonic() > self.submit_until:
                    self.skipped.append(job)
                    continue
                key, steps = f"chaos-{job}", chosen.randint(1, 4)
                task_id = client.submit(key, f"drill{job}", steps)
                self.accepted.append(task_id)
                if chosen.random() < 0.05 and client.submit(key, f"drill{job}", steps) != task_id:
                    self.broken_keys.append(key)
                while len(self.accepted) > 100 and self._open_runs() > 200:
                    time.sleep(0.5)

    # --- breaking

    def _strike(self) -> None:
        weights = {**MISFORTUNES, "postgres killed": 3 * bool(self.postgres)}
        what = self.random.choices(list(weights), list(weights.values()))[0]
        name = self.random.choice(self.names)
        with suppress(ProcessLookupError, Finetune30Error, OSError):
            try:
                self._do(what, name)
            except ConflictError:  # the run to be cancelled had ended
                what += " too late"
            self.done[what] += 1

    def _do(self, what: str, name: str) -> None:
        services = self.services
        worker = services.workers.get(name)
        if what == "worker killed" and worker:
            self._mourn(worker.pid)
            services.kill_worker(name)
        elif what == "worker stopped" and worker:
            worker.terminate()
        elif what == "API killed":
            services.kill_api()
        elif what == "API killed at a fail point":
            services.kill_api()
            services.start_api(FT30_FAILPOINT=f"{self.random.choice(self.api_fail_points)}:{self.random.randint(1, 3)}")
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
            self.start_worker(
                name, FT30_FAILPOINT=f"{self.random.choice(self.fail_points)}:{self.random.randint(1, 3)}"
            )
            threading.Timer(self.fail_point_seconds, self._replace, (name, services.workers[name])).start()
        elif what == "message doubled" and self.accepted:
            for run_id in self.random.choices(self.accepted, k=5):
                services.publisher.publish(run_id)
        elif what == "message forged":
            services.push("junk", '{"body": "x"}', "[1]")
        elif what == "cancelled" and self.accepted:
            services.store.request_cancel(self.random.choice(self.accepted[-200:]))
        elif what == "postgres killed":
            present(self.postgres).kill_and_restart()

    def _replace(self, name: str, doomed: Any) -> None:
        held = self.services.workers.get(name)
        if held is not None and held is doomed:
            with suppress(ProcessLookupError):
                held.kill()

    def _mourn(self, pid: int) -> None:
        for run in self._running():
            if run.lease_owner and run.lease_owner.split(":")[2] == str(pid):
                self._bereaved[run.id] = (run.attempt, time.time())

    # --- repairing

    def _keep_up(self) -> None:
        """Start dead services again, as their supervisor would; let paused ones go on; see what became of the rest."""
        now = time.monotonic()
        for moment, pid in list(self._paused):
            if now > moment:
                self._paused.remove((moment, pid))
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        for name in self.names:
            worker = self.services.workers.get(name)
            if worker is None or worker.poll() is not None:
                self.start_worker(name)
        if self.services.api is None or self.services.api.poll() is not None:
            self.services.start_api()
        with suppress(Finetune30Error):
            self._look_at_bereaved()
            for run in self.list_failed():  # three misfortunes in a row: a person tries again
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
    parser.add_argument("--minutes", type=float, default=1e6, help="submit no longer than this; then only finish")
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
        chaos.run(tuple(options.every), options.minutes * 60)
        seconds = time.monotonic() - started
        for name in list(services.workers):
            services.kill_worker(name)
        services.kill_api()
        recorded = load_recorded(services.settings.resolved_database_url)
        verdict = check(services.settings.resolved_database_url, services.settings.results_folder, chaos.accepted)
    tries = total_tries(chaos.clients)
    slowest = max(client.slowest_answer for client in chaos.clients)
    print(f"seed {seed}, {seconds:.0f} s, {len(chaos.accepted)} runs accepted, slowest answer {slowest:.2f} s")
    print("requests:", ", ".join(f"{count} {what}" for what, count in tries.most_common()))
    print("misfortunes:", ", ".join(f"{count} {what}" for what, count in chaos.done.most_common()))
    if chaos.recoveries:
        print(f"killed worker to next attempt: {len(chaos.recoveries)} times, longest {max(chaos.recoveries):.1f} s")
    print(f"{verdict.summary()}, recorded runs {len(recorded)} for {len({*chaos.accepted})} keys")
    unaccepted = options.jobs - len(chaos.skipped) - len(chaos.accepted)
    missing = [f"{unaccepted} runs were never accepted"] if unaccepted else []
    doubled = [f"{run_id} was recorded, but no client was told of it" for run_id in recorded - {*chaos.accepted}]
    doubled += [f"{key} gave two runs" for key in chaos.broken_keys]
    for breach in (breaches := [*verdict.breaches, *missing, *doubled]):
        print("BREACH", breach)
    return bool(breaches)


if __name__ == "__main__":
    sys.exit(main())
