"""Misfortunes of a fleet: hosts lose power, cables are pulled, processes are killed; in the end all is mended."""

from __future__ import annotations

import math
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from finetune30.errors import Finetune30Error
from finetune30.store import RunFilter, RunStatus
from finetune30.store.records import MAX_LOST_ATTEMPTS
from support.event_checker import load_recorded
from support.fleet import API_KEY, SERVICES, Fleet
from support.patience import LOOK_SECONDS, patient
from support.patient_client import PatientClient, UnansweredError
from support.services import find_attempts

#: Every kind of misfortune, and how often it comes among all.
MISFORTUNES = {
    "host a killed": 2, "host b killed": 3, "host c killed": 1,
    "cable of a pulled": 2, "cable of b pulled": 3, "cable of c pulled": 1,
    "postgresql killed": 2, "redis killed": 3, "api killed": 4, "worker-a killed": 3, "worker-b killed": 3,
    "attempt or rank killed": 6,
}  # fmt: skip
CLIENTS = 3
#: Clients never run further ahead of the workers.
_MOST_OPEN = 60
#: Without any change for so long, what is open is stuck: 15 leases.
_STUCK_SECONDS = 60.0
#: A supervisor waits so long before it starts again what died.
_RESTART_SECONDS = 1.0


class FleetChaos:
    """Submits runs, breaks the fleet around them, mends it, and remembers what it did."""

    def __init__(self, fleet: Fleet, configs: Sequence[tuple[str, dict[str, Any]]], seed: int) -> None:
        """`configs` are the names and configurations of the runs, in order."""
        self.fleet, self.configs, self.seed, self.random = fleet, configs, seed, random.Random(seed)
        self.recorded_before = load_recorded(fleet.settings.resolved_database_url)
        self.audited_before = fleet.count_audit_entries()
        self.accepted: dict[str, str] = {}  # Idempotency-Key -> run
        self.doubled_keys: list[str] = []
        self.unanswered: list[str] = []
        self.done: Counter[str] = Counter()
        self._submit_until = math.inf
        self.clients = [PatientClient(fleet.api_url, API_KEY) for _ in range(CLIENTS)]
        self._open, self._changed_at, self._state = len(configs), time.monotonic(), ""
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._not_before: dict[str, float] = {}
        self._over = threading.Event()

    def run(self, kinds: Sequence[str] | None, pause: tuple[float, float], seconds: float = math.inf) -> None:
        """Submit everything for which the seconds are enough.

        Meanwhile, after a pause each, let these misfortunes happen, or random ones to the end.
        """
        self._submit_until = time.monotonic() + seconds
        submitters = [threading.Thread(target=self._submit, args=(number,)) for number in range(CLIENTS)]
        watcher = threading.Thread(target=self._watch)
        for thread in (*submitters, watcher):
            thread.start()
        planned = list(kinds) if kinds is not None else None
        due, told = time.monotonic() + self.random.uniform(*pause), 0.0
        while (submitting := any(thread.is_alive() for thread in submitters)) or planned or not self._is_at_rest():
            time.sleep(LOOK_SECONDS)
            self._mend(time.monotonic())
            goes_on = submitting or self._open > len(self.accepted) // 10
            if time.monotonic() > due and (planned or (planned is None and goes_on)):
                kind = planned.pop(0) if planned else self.random.choices([*MISFORTUNES], [*MISFORTUNES.values()])[0]
                self._strike(kind)
                due = time.monotonic() + self.random.uniform(*pause)
            if time.monotonic() - told > 30:
                told = time.monotonic()
                print(f"{len(self.accepted)} accepted, {self._open} open, {self.done.total()} misfortunes", flush=True)
        self._over.set()
        watcher.join()
        self._mend_all()

    # --- submitting

    def _submit(self, number: int) -> None:
        """Hand in every third run, some of them twice."""
        chosen = random.Random(f"{self.seed} {number}")
        with self.clients[number] as client:
            for job in range(number, len(self.configs), CLIENTS):
                if time.monotonic() > self._submit_until:
                    return
                name, config = self.configs[job]
                key = f"hosts-{job}"
                try:
                    self.accepted[key] = client.submit_config(key, name, config, patience_seconds=600)
                    if chosen.random() < 0.1 and client.submit_config(key, name, config) != self.accepted[key]:
                        self.doubled_keys.append(key)
                except UnansweredError as error:
                    self.unanswered.append(f"{key}: {error}")
                while self._open > _MOST_OPEN and len(self.accepted) > _MOST_OPEN:
                    time.sleep(0.5)

    # --- breaking

    def _strike(self, kind: str) -> None:
        """Do what can be done of it: a host without power cannot lose it."""
        lease = self.fleet.settings.lease_seconds
        what, _, rest = kind.rpartition(" ")
        if kind == "attempt or rank killed":
            pids = find_attempts(self.fleet.settings.results_folder)
            if not pids:
                return
            with suppress(ProcessLookupError):
                os.kill(self.random.choice(pids), signal.SIGKILL)
        elif rest == "pulled":
            host = self.fleet.hosts[what[-1]]
            if not host.is_up:
                return
            host.pull_cable()
            self._later(self.random.uniform(0.5, 3 * lease), lambda: host.plug_in() if host.is_up else None)
        elif what.startswith("host"):
            letter = what[-1]
            if not self.fleet.hosts[letter].is_up:
                return
            self.fleet.kill_host(letter)
            self._later(self.random.uniform(1, 3 * lease), self.fleet.hosts[letter].power_on)
        else:
            self.fleet.kill(what)
            self._not_before[what] = time.monotonic() + self.random.uniform(0, 3)
        self.done[kind] += 1

    # --- mending

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._due.append((time.monotonic() + seconds, action))

    def _mend(self, now: float) -> None:
        """Undo what is due, and start dead services again as their supervisor would."""
        for entry in [entry for entry in self._due if entry[0] <= now]:
            self._due.remove(entry)
            entry[1]()
        for name, letter in SERVICES.items():
            is_dead = self.fleet.hosts[letter].is_up and not self.fleet.is_running(name)
            if is_dead and now >= self._not_before.get(name, 0.0):
                self._not_before[name] = now + _RESTART_SECONDS
                self.fleet.start(name)

    def _mend_all(self) -> None:
        self._mend(math.inf)
        self.fleet.wait_for_database()

    # --- watching

    def _watch(self) -> None:
        """Count what is open, and try runs again that were lost three times, as a person does."""
        while not self._over.wait(1.0):
            with suppress(Finetune30Error):
                store = self.fleet.store
                by_status = store.stats().by_status
                self._open = by_status.get("QUEUED", 0) + by_status.get("RUNNING", 0)
                open_runs = store.find(RunFilter(statuses=frozenset({RunStatus.QUEUED, RunStatus.RUNNING})))
                state = repr([(run.id, run.status, run.attempt, run.progress) for run in open_runs])
                if state != self._state:
                    self._state, self._changed_at = state, time.monotonic()
                for run in store.find(RunFilter(statuses=frozenset({RunStatus.FAILED}))):
                    if run.failures >= MAX_LOST_ATTEMPTS:
                        self.done["retried after three lost attempts"] += 1
                        store.retry(run.id)

    def _is_at_rest(self) -> bool:
        """Whether nothing is left to wait for: all runs ended, or what is open is stuck."""
        if self._due:
            return False
        waited = time.monotonic() - self._changed_at
        return waited > (patient(_STUCK_SECONDS) if self._open else 5.0)
