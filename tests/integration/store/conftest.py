"""Databases of integration tests: SQLite in a file, PostgreSQL from a server of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.run_store_lab import Lab, new_postgresql_database, postgresql_server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Any]:
    with postgresql_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/results/experiments.db"
    return new_postgresql_database(request.getfixturevalue("postgresql"))


@pytest.fixture
def lab(postgresql: Any, tmp_path: Path) -> Iterator[Lab]:
    """A store on an empty PostgreSQL, for tests of SQLite that run again."""
    lab = Lab(new_postgresql_database(postgresql), tmp_path / "results")
    yield lab
    lab.store.close()
