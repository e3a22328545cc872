"""Every test of the run store again, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune30.store import open_store
from finetune30.store.database import writing
from finetune30.store.records import utc_now
from finetune30.store.tables import runs, tombstones
from support.run_store_lab import Lab, new_postgresql_database
from unit.store.test_run_queries import *  # noqa: F403
from unit.store.test_run_store import *  # noqa: F403
from unit.store.test_run_store_states import *  # noqa: F403

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def shared_database(postgresql: Any) -> str:
    return new_postgresql_database(postgresql)


@pytest.fixture
def lab(shared_database: str, tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(shared_database, tmp_path / "results")
    yield lab
    with writing(lab.store.engine) as connection:  # events stay: they refuse to go
        connection.execute(runs.delete())
        connection.execute(tombstones.delete())
    lab.store.close()


def test_store_on_postgresql_takes_the_time_of_the_database(postgresql: Any, tmp_path: Path) -> None:
    store = open_store(new_postgresql_database(postgresql))
    lab = Lab.__new__(Lab)
    lab.store, lab.results = store, tmp_path
    run = lab.create()
    assert abs((run.created_at - utc_now()).total_seconds()) < 5
    assert run.created_at.utcoffset() is not None
    store.close()
