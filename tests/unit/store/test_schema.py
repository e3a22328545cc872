"""Migrations only add, or say that they do more; what older packages write keeps its meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest
import sqlalchemy as sa
from alembic import op
from sqlalchemy import Connection, create_engine, inspect

from finetune30.store.schema import LAST_WITHOUT_MARKS, apply, known_revisions, load_migration
from support.migration_changes import find_more_than_additions
from support.run_store_lab import Lab


@contextmanager
def empty() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize("revision", known_revisions())
def test_every_migration_says_whether_it_only_adds_and_tells_the_truth(revision: str) -> None:
    migration = load_migration(revision)
    assert isinstance(getattr(migration, "additive", None), bool), f"{revision} has no mark: additive = True or False"
    before = known_revisions()[: known_revisions().index(revision)]
    with empty() as connection:
        apply(connection, "upgrade", before)
        found = find_more_than_additions(connection, migration)
        assert not (migration.additive and found), found


def drop_column() -> None:
    op.drop_column("runs", "note")


def drop_table() -> None:
    op.drop_table("tombstones")


def rename_column() -> None:
    op.alter_column("runs", "note", new_column_name="remark")


def rename_table() -> None:
    op.rename_table("tombstones", "buried")


def add_column_that_must_be_given() -> None:
    op.add_column("workers", sa.Column("must", sa.Integer, nullable=False, server_default="1"))
    with op.batch_alter_table("workers") as batch:
        batch.alter_column("must", server_default=None)


def refuse_null() -> None:
    with op.batch_alter_table("runs") as batch:
        batch.alter_column("device", nullable=False)


def narrow_type() -> None:
    with op.batch_alter_table("runs") as batch:
        batch.alter_column("device", type_=sa.String(8))


def narrow_values() -> None:
    op.create_index("ix_once", "runs", ["name"], unique=True)


def change_data() -> None:
    op.execute("UPDATE runs SET note = 'none', priority = priority + 1 WHERE note = ''")


def remove_data() -> None:
    op.execute("DELETE FROM tombstones")


def refuse_by_trigger() -> None:
    op.execute("CREATE TRIGGER never BEFORE DELETE ON runs BEGIN SELECT RAISE(ABORT, 'never'); END")


def make_anew() -> None:
    op.drop_table("dataset_tags")
    load = sa.Column("tag", sa.String(80), primary_key=True), sa.Column("digest", sa.String(64), nullable=False)
    op.create_table("dataset_tags", *load)


@pytest.mark.parametrize(
    "change",
    [
        drop_column,
        drop_table,
        rename_column,
        rename_table,
        add_column_that_must_be_given,
        refuse_null,
        narrow_type,
        narrow_values,
        change_data,
        remove_data,
        refuse_by_trigger,
        make_anew,
    ],
)
def test_whatever_does_more_than_add_is_found(change: Callable[[], None]) -> None:
    with empty() as connection:
        apply(connection, "upgrade", known_revisions())
        assert find_more_than_additions(connection, migration_of(change)) != []


def add() -> None:
    op.create_table("more", sa.Column("id", sa.Integer, primary_key=True))
    op.add_column("runs", sa.Column("later", sa.Text))
    op.add_column("runs", sa.Column("counted", sa.Integer, nullable=False, server_default="0"))
    op.execute("UPDATE runs SET later = note, counted = 1 WHERE note = ''")
    op.drop_index("ix_runs_tags", "runs")
    op.create_index("ix_runs_tags", "runs", ["tags", "later"])


def test_additions_are_none_of_it() -> None:
    with empty() as connection:
        apply(connection, "upgrade", known_revisions())
        assert find_more_than_additions(connection, migration_of(add)) == []


def test_columns_since_the_first_revision_need_not_be_given(lab: Lab) -> None:
    """A package from before a column writes rows without it; what it then holds is a null or the server's default."""
    now, since = inspect(lab.store.engine), 0
    for table, there in _columns_when_made().items():
        for column in now.get_columns(table):
            if column["name"] not in there:
                since += 1
                assert column["nullable"] or column["default"] is not None, f"{table}.{column['name']}"
    assert since >= 14  # r0002, r0005, r0006, r0009


def test_the_level_that_old_packages_compare_is_the_last_one_without_marks(lab: Lab) -> None:
    with lab.store.engine.connect() as connection:
        level = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
    assert level == LAST_WITHOUT_MARKS


def _columns_when_made() -> dict[str, set[str]]:
    """Return the columns that every table had in the revision that made it."""
    made: dict[str, set[str]] = {}
    with empty() as connection:
        for revision in known_revisions():
            apply(connection, "upgrade", [revision])
            seen = inspect(connection)
            for table in seen.get_table_names():
                made.setdefault(table, {column["name"] for column in seen.get_columns(table)})
    return made


def migration_of(change: Callable[[], None]) -> ModuleType:
    module = ModuleType("r9999_change")
    module.__dict__["upgrade"] = change
    return module
