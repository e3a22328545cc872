"""The step to r0006: runs of the revision before have nothing written on them, and all that they had."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, text

from finetune30.store import RunFilter, open_store
from finetune30.store.annotations import RunEdit, edit_run
from finetune30.store.database import build_engine, writing
from finetune30.store.schema import migrate
from support.migrations import schema_of, step_to

pytestmark = pytest.mark.integration

BEFORE = "r0005_score"
ADDED = {"note", "tags", "starred", "archived", "edits"}
#: How the release before writes a run: it knows nothing of the new columns.
OLD_INSERT = text(
    "INSERT INTO runs (id, name, name_key, status, kind, attempt, failures, cancel_requested, priority, folder, config,"
    " config_digest, created_at, queued_at, submitted_by, score, score_name, score_rank)"
    " VALUES (:id, :name, :name, 'SUCCEEDED', 'local', 1, 0, false, 0, :name, '{}', 'c', :moment, :moment, '',"
    " 0.5, 'eval_accuracy', 0.5)"
)


def old_row(number: int) -> dict[str, Any]:
    return {"id": f"{number:032x}", "name": f"run {number}", "moment": f"2026-01-02 03:04:{number:02}.000000"}


def make_database_of_before(database_url: str) -> Engine:
    engine = build_engine(database_url)
    step_to(engine, "upgrade", BEFORE)
    with writing(engine) as connection:
        for number in range(5):
            connection.execute(OLD_INSERT, old_row(number))
    return engine


def test_runs_of_before_have_nothing_written_on_them_and_can_be_edited(database_url: str) -> None:
    make_database_of_before(database_url).dispose()
    store = open_store(database_url)
    found = store.find(RunFilter(archived=False, starred=False))
    assert [run.name for run in found] == [f"run {number}" for number in range(4, -1, -1)]
    assert {(run.note, run.tags, run.starred, run.archived, run.edits, run.score) for run in found} == {
        ("", (), False, False, 0, 0.5)
    }
    edit_run(store, "run 3", RunEdit(name="third", tags=("old",), archived=True))
    assert [run.name for run in store.find(RunFilter(tags=frozenset({"old"})))] == ["third"]
    store.close()


def test_a_worker_of_the_release_before_still_writes_runs(database_url: str) -> None:
    engine = make_database_of_before(database_url)
    migrate(engine)
    with writing(engine) as connection:
        connection.execute(OLD_INSERT, old_row(7))
    engine.dispose()
    store = open_store(database_url)
    assert (store.get("run 7").tags, store.get("run 7").archived) == ((), False)
    store.close()


def test_the_step_back_leaves_the_schema_of_before(database_url: str) -> None:
    engine = make_database_of_before(database_url)
    before = schema_of(engine)
    migrate(engine)
    columns, indexes = schema_of(engine)
    assert columns - before[0] == ADDED | {"places", "pause_at", "paused_at", "paused"}  # which later steps add
    listings = {name for name in indexes if name.startswith("ix_runs_by_")}
    assert len(listings) == 6
    assert all("'archived', 'starred', 'tags'" in name for name in listings)
    step_to(engine, "downgrade", BEFORE)
    assert schema_of(engine) == before
    engine.dispose()
