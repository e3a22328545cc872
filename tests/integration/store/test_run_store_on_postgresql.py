"""Every test of the run store again, on a real PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from finetune30.errors import StorageError
from finetune30.store import RunStatus, database, open_store
from finetune30.store.database import writing
from finetune30.store.records import utc_now
from finetune30.store.tables import runs, tombstones
from support.run_store_lab import Lab, new_postgresql_database
from unit.store.test_fair_queue import (  # noqa: F401
    test_a_limit_holds_runs_until_one_has_ended,
    test_one_place_goes_round,
    test_places_say_what_will_be_taken,
)
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


def test_row_that_a_paused_process_holds_is_a_storage_error(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", 0.2)
    run = lab.create()
    hurried = open_store(lab.store.engine.url.render_as_string(hide_password=False), lab.clock)
    with writing(lab.store.engine) as paused:
        paused.execute(select(runs).where(runs.c.id == run.id).with_for_update())
        with pytest.raises(StorageError, match="lock timeout") as caught:
            hurried.request_cancel(run.id)
        assert "another process kept writing" in caught.value.remedy
    assert hurried.request_cancel(run.id).status is RunStatus.CANCELLED
    hurried.close()


def test_transaction_of_a_paused_process_ends_by_itself(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "IDLE_TRANSACTION_SECONDS", 1)
    run = lab.create()
    paused = open_store(lab.store.engine.url.render_as_string(hide_password=False), lab.clock)

    def sleep_within_a_change() -> None:
        with writing(paused.engine) as connection:
            connection.execute(select(runs).where(runs.c.id == run.id).with_for_update())
            time.sleep(2)
            connection.execute(select(runs.c.id))

    with pytest.raises(StorageError, match="database postgresql"):
        sleep_within_a_change()
    assert lab.store.request_cancel(run.id).status is RunStatus.CANCELLED
    paused.close()


def test_store_on_postgresql_takes_the_time_of_the_database(postgresql: Any, tmp_path: Path) -> None:
    store = open_store(new_postgresql_database(postgresql))
    lab = Lab.__new__(Lab)
    lab.store, lab.results = store, tmp_path
    run = lab.create()
    assert abs((run.created_at - utc_now()).total_seconds()) < 5
    assert run.created_at.utcoffset() is not None
    store.close()
