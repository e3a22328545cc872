"""Migrations, and what becomes of a database that refuses."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, text

from finetune30.errors import StorageError, UsageError
from finetune30.store import (
    RunFilter,
    database,
    mirror_tables,
    model_tables,
    open_store,
    schema,
    search_tables,
    server_tables,
)
from finetune30.store.database import reading, writing
from finetune30.store.schema import known_revisions, migrate
from finetune30.store.tables import metadata


def test_migrations_make_the_tables_of_the_code(lab):
    with lab.store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        for table in (mirror_tables.mirrors, model_tables.models, search_tables.searches, server_tables.servers):
            assert table.metadata is metadata
        assert compare_metadata(context, metadata) == []
        assert schema.find_missing(connection) == []


def test_migrations_form_one_line_and_carry_the_names_of_their_files() -> None:
    modules = [schema.load_migration(name) for name in known_revisions()]
    assert [module.revision for module in modules] == known_revisions()
    assert [module.down_revision for module in modules] == [None, *known_revisions()[:-1]]


def test_migrating_again_changes_nothing(lab):
    run = lab.create()
    migrate(lab.store.engine)
    assert lab.store.get(run.id) == run


def test_newer_schema_is_refused(lab):
    with writing(lab.store.engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'r9999_later'"))
    with pytest.raises(StorageError, match="the database has schema r9999_later"):
        migrate(lab.store.engine)


def test_sqlite_runs_with_wal_full_sync_and_a_busy_timeout(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    with reading(store.engine) as connection:
        pragmas = [
            connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        ]
    store.close()
    assert pragmas == ["wal", 2, 10_000]


def test_writes_wait_for_the_disk_unless_they_say_otherwise(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    seen = []
    for durable in (True, False, True):
        with writing(store.engine, durable=durable) as connection:
            seen.append(connection.execute(text("PRAGMA synchronous")).scalar())
    store.close()
    assert seen == [2, 1, 2]


def test_threads_of_one_process_take_turns_at_writing(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    with sqlite3.connect(tmp_path / "runs.db") as plain:
        plain.execute("CREATE TABLE counted (number INTEGER)")
        plain.execute("INSERT INTO counted VALUES (0)")

    pool: Any = store.engine.pool

    def count(_: int) -> None:
        with writing(store.engine) as connection:
            number = connection.execute(text("SELECT number FROM counted")).scalar_one()
            assert pool.checkedout() == 1, "who waits holds no connection"
            connection.execute(text("UPDATE counted SET number = :next"), {"next": number + 1})

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(count, range(64)))
    with reading(store.engine) as connection:
        assert connection.execute(text("SELECT number FROM counted")).scalar_one() == 64
    store.close()


def test_waiting_for_a_thread_that_never_stops_writing_ends_in_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", 0.2)
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    with ThreadPoolExecutor(1) as threads, writing(store.engine):
        refused = threads.submit(store.mark_published, ["0" * 32])
        with pytest.raises(StorageError, match="locked by this very process"):
            refused.result(30)
    store.close()


@pytest.mark.parametrize("url", ["mysql://host/x", "nonsense", "postgresql+asyncpg://host/x", ""])
def test_url_of_another_kind_is_refused(url):
    with pytest.raises(UsageError, match="database URL"):
        open_store(url)


def test_locked_database_is_a_storage_error(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", 0.1)
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    other = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="database is locked") as caught, writing(store.engine):
        pass
    assert "another process kept writing" in caught.value.remedy
    assert caught.value.retryable
    assert store.find(RunFilter()) == []  # readers are not kept out
    other.execute("ROLLBACK")
    other.close()
    store.close()


def test_full_disk_is_a_storage_error_and_leaves_no_half_run(lab):
    def limit(connection, _record):
        connection.execute(f"PRAGMA max_page_count = {pages}")

    kept = lab.create("kept")
    with reading(lab.store.engine) as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar()
    event.listen(lab.store.engine, "connect", limit)
    lab.store.close()

    def fill() -> None:
        for _ in range(200):
            lab.create("more")

    with pytest.raises(StorageError, match="database or disk is full") as caught:
        fill()
    assert "free some space" in caught.value.remedy
    runs = lab.store.find(RunFilter(limit=1000))
    assert kept.id in [run.id for run in runs]
    assert {run.folder for run in runs} == {path.name for path in lab.results.iterdir() if path.is_dir()}


def test_broken_database_file_is_a_storage_error(tmp_path):
    (tmp_path / "runs.db").write_bytes(b"this is no database" * 500)
    with pytest.raises(StorageError, match="file is not a database"):
        open_store(f"sqlite:///{tmp_path}/runs.db")


def test_folder_of_the_database_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot make the folder") as caught:
        open_store(f"sqlite:///{tmp_path}/file/runs.db")
    assert "--output_dir" in caught.value.remedy


def test_database_url_with_a_password_never_shows_it():
    with pytest.raises(StorageError, match="connection") as caught:
        open_store("postgresql://user:secret@127.0.0.1:1/x?connect_timeout=2")
    assert "secret" not in caught.value.message + caught.value.remedy


@pytest.mark.parametrize("replaced", [False, True])
def test_database_whose_file_was_taken_away_accepts_nothing_more(tmp_path, replaced):
    file = tmp_path / "runs.db"
    store, copy = open_store(f"sqlite:///{file}"), tmp_path / "copy.db"
    with sqlite3.connect(file) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    for name in ("runs.db", "runs.db-wal", "runs.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    if replaced:
        copy.rename(file)
    for access in (reading, writing):
        with pytest.raises(StorageError, match="removed or replaced"), access(store.engine):
            pass
    with ThreadPoolExecutor(8) as threads:  # connections that are made now open no other file either
        found = [threads.submit(_try_to_write, store.engine) for _ in range(16)]
        assert {future.result() for future in found} == {"refused"}
    assert file.exists() is replaced
    store.close()
    if replaced:
        again = open_store(f"sqlite:///{file}")
        assert _try_to_write(again.engine) == "written"
        again.close()


def _try_to_write(engine):
    try:
        with writing(engine) as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
    except StorageError:
        return "refused"
    return "written"


class NoConnectionError(Exception):
    """Stands for the server that this test needs none of."""


def test_a_silent_postgresql_is_given_up_as_soon_as_the_url_says_or_after_20_seconds():
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    given: dict[str, object] = {}

    def look(_dialect: object, _record: object, _arguments: object, parameters: dict[str, object]) -> None:
        given.update(parameters)
        raise NoConnectionError

    engine = database.build_engine("postgresql://nobody@server/runs?tcp_user_timeout=3000")
    event.listen(engine, "do_connect", look)
    with pytest.raises(NoConnectionError):
        engine.connect()
    names = ("keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
    assert [given[name] for name in names] == [10, 5, 2, "3000"]
