"""Small changes of many threads: made together where they wait for a turn, each for itself where one breaks a rule."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from finetune30.config import ExperimentConfig
from finetune30.errors import StorageError
from finetune30.store import RunFilter, RunStore, open_store
from finetune30.store.access import complete_audit, load_audit, record_audit
from finetune30.store.database import writing
from finetune30.store.joined_writes import write_jointly
from finetune30.store.records import utc_now
from finetune30.store.tables import tombstones
from support.patience import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def store(database_url: str) -> Iterator[RunStore]:
    opened = open_store(database_url)
    yield opened
    opened.close()


def bury(store: RunStore, run_id: str) -> None:
    row = {"run_id": run_id, "name": "a", "folder": run_id, "deleted_at": utc_now()}
    write_jointly(store.engine, lambda c: c.execute(tombstones.insert(), row), may_meet_others=True)


def test_each_of_many_writers_has_its_own_outcome(store: RunStore, tmp_path: Path) -> None:
    def write(number: int) -> tuple[str, int]:
        entry = record_audit(store, actor=f"a{number}", role="admin", action="POST /train", target="", outcome=102)
        key = f"key-{number % 4}"
        run = store.create(
            ExperimentConfig(experiment_name="a"), kind="queued", results_root=tmp_path, idempotency_key=key
        )
        store.mark_published([run.id])
        complete_audit(store, entry, action="POST /train", target=run.id, outcome=202)
        return run.id, entry

    with ThreadPoolExecutor(16) as threads:
        written = list(threads.map(write, range(32)))
    assert len({run_id for run_id, _ in written}) == 4
    assert len({entry for _, entry in written}) == 32
    assert len(store.find(RunFilter())) == 4
    assert all(run.published_at for run in store.find(RunFilter()))
    assert {(entry.number, entry.target, entry.outcome) for entry in load_audit(store)} == {
        (entry, run_id, 202) for run_id, entry in written
    }
    assert len(list(tmp_path.glob("a_*"))) == 4


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_those_that_wait_for_sqlite_become_one_transaction(store: RunStore) -> None:
    bury(store, "there")
    begun: list[int] = []
    names = ["there" if number == 3 else f"run-{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        with writing(store.engine):
            first = threads.submit(bury, store, names[0])  # it has the turn, and waits for the transaction here
            wait_until(lambda: _waiting() == 1, 30, "the first one waits")
            others = [threads.submit(bury, store, name) for name in names[1:]]
            wait_until(lambda: _waiting() == 8, 30, "all wait")
            event.listen(store.engine, "begin", lambda _: begun.append(1))
        first.result(30)
        failed = [one.exception(30) for one in others]
    assert [type(error) for error in failed] == [type(None), type(None), IntegrityError, *[type(None)] * 4]
    assert len(begun) <= 2
    with store.engine.connect() as connection:
        assert {row.run_id for row in connection.execute(tombstones.select())} == {*names}


def _waiting() -> int:
    frames = sys._current_frames()
    threads = [one for one in threading.enumerate() if one.name.startswith("ThreadPoolExecutor")]
    found = 0
    for thread in threads:
        frame = frames.get(thread.ident or 0)
        while frame is not None and frame.f_code.co_name != "write_jointly":
            frame = frame.f_back
        found += frame is not None
    return found


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_fault_of_the_database_is_told_to_all_that_waited(store: RunStore, tmp_path: Path) -> None:
    (tmp_path / "results" / "experiments.db").rename(tmp_path / "moved.db")
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(bury, store, f"run-{number}") for number in range(4)]
        faults = [one.exception(60) for one in asked]
    assert all(isinstance(fault, StorageError) and "removed or replaced" in fault.message for fault in faults)
    assert len({id(fault) for fault in faults}) == 4
