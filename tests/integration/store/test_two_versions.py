"""A package beside one that is ahead of it, on one database: what is only added is accepted, anything else refused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import text

from finetune30 import __version__
from finetune30.config import ExperimentConfig
from finetune30.errors import StorageError
from finetune30.store import RunStore, open_store
from finetune30.store.database import build_engine, reading, writing
from finetune30.store.schema import LAST_WITHOUT_MARKS, find_missing, known_revisions
from support.migrations import step_to
from support.other_versions import SOURCES, OtherVersion
from support.patience import patient

pytestmark = pytest.mark.integration

LATER = "r9001_later"
ADD_LATER = 'op.add_column("runs", sa.Column("later", sa.Text, nullable=False, server_default="none"))'


@pytest.fixture
def later(tmp_path: Path) -> OtherVersion:
    """The package with one revision more, which adds a column."""
    copy = OtherVersion.copied(tmp_path / "later", "9.1.0")
    copy.add_migration(LATER, ADD_LATER, additive=True)
    return copy


def list_runs(version: OtherVersion, tmp_path: Path, database_url: str) -> subprocess.CompletedProcess[str]:
    return version.run("runs", "list", "--json", cwd=tmp_path, FT30_DATABASE_URL=database_url)


def record(store: RunStore, tmp_path: Path, name: str) -> str:
    config = ExperimentConfig(experiment_name=name)
    return store.create(config, kind="queued", results_root=tmp_path / "results").id


def marks(store: RunStore) -> dict[str, tuple[bool, str | None]]:
    with reading(store.engine) as connection:
        rows = connection.execute(text("SELECT revision, additive, package_version FROM schema_revisions"))
        return {row.revision: (bool(row.additive), row.package_version) for row in rows}


def level(store: RunStore) -> str:
    with reading(store.engine) as connection:
        return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())


def test_an_addition_of_a_later_version_is_accepted_and_what_both_write_is_read_by_both(
    database_url: str, later: OtherVersion, tmp_path: Path
) -> None:
    store = open_store(database_url)
    before = record(store, tmp_path, "before")
    ended = later.migrate(database_url)
    assert ended.returncode == 0, ended.stderr
    assert marks(store)[LATER] == (True, "9.1.0")
    assert marks(store)[known_revisions()[-1]] == (True, __version__)
    assert level(store) == LAST_WITHOUT_MARKS, "what packages from before the marks compare stays as it was"

    after = record(store, tmp_path, "after")  # by a process that was there when the database was migrated
    store.close()
    store = open_store(database_url)  # and by one that comes afterwards: the way back is to start the older package
    last = record(store, tmp_path, "last")
    with reading(store.engine) as connection:
        assert find_missing(connection) == []
        rows = connection.execute(text("SELECT id, later FROM runs"))
        assert {row.id: row.later for row in rows} == dict.fromkeys((before, after, last), "none")
    store.close()
    ended = list_runs(later, tmp_path, database_url)
    assert all(run_id in ended.stdout for run_id in (before, after, last)), ended.stderr


def test_a_revision_that_does_more_than_add_is_refused_and_nothing_is_touched(
    database_url: str, later: OtherVersion, tmp_path: Path
) -> None:
    open_store(database_url).close()
    later.add_migration("r9002_removed", 'op.rename_table("tombstones", "buried")', additive=False)
    assert later.migrate(database_url).returncode == 0
    refused = OtherVersion(SOURCES).run("runs", "list", cwd=tmp_path, FT30_DATABASE_URL=database_url)
    assert refused.returncode != 0
    assert "the database has schema r9002_removed, which does more than add to what was there" in refused.stderr
    assert f"knows up to {known_revisions()[-1]}" in refused.stderr
    assert "update finetune30, or point FT30_DATABASE_URL at another database" in refused.stderr
    ended = list_runs(later, tmp_path, database_url)
    assert ended.returncode == 0, ended.stderr


def test_an_addition_on_top_of_a_removal_does_not_hide_it(
    database_url: str, later: OtherVersion, tmp_path: Path
) -> None:
    later.add_migration("r9002_removed", 'op.drop_table("dataset_tags")', additive=False)
    later.add_migration("r9003_more", 'op.create_table("more", sa.Column("id", sa.Integer))', additive=True)
    assert later.migrate(database_url).returncode == 0
    with pytest.raises(StorageError, match="the database has schema r9002_removed"):
        open_store(database_url)


def test_a_database_of_another_line_of_development_is_refused(
    database_url: str, later: OtherVersion, tmp_path: Path
) -> None:
    missing = known_revisions()[-1]
    assert later.migrate(database_url).returncode == 0
    engine = build_engine(database_url)
    with writing(engine) as connection:
        connection.execute(text("DELETE FROM schema_revisions WHERE revision = :name"), {"name": missing})
    engine.dispose()
    with pytest.raises(StorageError, match=f"has schema {LATER}, .* and lacks {missing}") as caught:
        open_store(database_url)
    assert caught.value.remedy.startswith("update finetune30")


@pytest.mark.parametrize("start", [None, LAST_WITHOUT_MARKS])
def test_many_processes_migrate_at_once_and_each_revision_is_applied_once(
    database_url: str, later: OtherVersion, tmp_path: Path, start: str | None
) -> None:
    if start is not None:
        engine = build_engine(database_url)
        step_to(engine, "upgrade", start)
        engine.dispose()
    slowly = {"FT30_FAILPOINT": "schema.before_commit:1:wait1"}
    running = [
        subprocess.Popen(
            version.migrating(database_url), env={**os.environ, **version.environment(**slowly)}, stderr=subprocess.PIPE
        )
        for version in [later, OtherVersion(SOURCES)] * 2
    ]
    for process in running:
        _, errors = process.communicate(timeout=patient(120))
        assert process.returncode == 0, errors.decode()
    store = open_store(database_url)
    assert set(marks(store)) == {*known_revisions(), LATER}
    assert level(store) == LAST_WITHOUT_MARKS
    store.close()


def test_a_migration_that_is_killed_midway_leaves_what_was_there(
    database_url: str, later: OtherVersion, tmp_path: Path
) -> None:
    later.add_migration(
        "r9002_killed",
        'op.create_table("half", sa.Column("id", sa.Integer)); '
        'os.environ.get("KILLED") and os.kill(os.getpid(), signal.SIGKILL)',
        additive=True,
    )
    store = open_store(database_url)
    run_id = record(store, tmp_path, "kept")
    before = marks(store)
    killed = later.migrate(database_url, KILLED="1")
    assert killed.returncode == -9
    assert marks(store) == before
    assert store.get(run_id).name == "kept"
    with reading(store.engine) as connection:
        assert "later" not in connection.execute(text("SELECT * FROM runs")).keys()  # noqa: SIM118 - no mapping
    record(store, tmp_path, "another")
    store.close()
    ended = list_runs(later, tmp_path, database_url)
    assert ended.returncode == 0, ended.stderr
    assert run_id in ended.stdout
    store = open_store(database_url)
    assert {LATER, "r9002_killed"} <= set(marks(store))
    store.close()
