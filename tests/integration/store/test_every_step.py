"""Every step of the database, as alembic finds it: what the release before wrote, and goes on writing, is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, Engine, MetaData, Table, insert, inspect, select, types

from finetune30.store.database import build_engine, reading, writing
from finetune30.store.schema import MIGRATIONS, known_revisions, migrate
from support.migrations import step_to

pytestmark = pytest.mark.integration

#: Each with the one that it is a step from; the first begins with nothing.
STEPS = [(step.down_revision, step.revision) for step in ScriptDirectory(str(MIGRATIONS)).walk_revisions()][::-1]
#: Tables of the steps themselves.
_OF_STEPS = {"alembic_version", "schema_revisions"}


def test_alembic_finds_the_steps_that_are_taken() -> None:
    assert [revision for _, revision in STEPS] == known_revisions()
    assert [before for before, _ in STEPS] == [None, *known_revisions()[:-1]]


@pytest.mark.parametrize(("before", "revision"), STEPS[1:], ids=[revision for _, revision in STEPS[1:]])
def test_rows_of_before_a_step_arrive_whole(database_url: str, before: str, revision: str) -> None:
    engine = build_engine(database_url)
    step_to(engine, "upgrade", before)
    tables, columns = load_tables(engine), columns_of(engine)
    first = write_rows(engine, tables, 1)
    step_to(engine, "upgrade", revision)
    assert read_rows(engine, tables) == first
    migrate(engine)  # this and whatever came after it, as whoever upgrades takes them
    second = write_rows(engine, tables, 2)
    both = {name: [*rows, *second[name]] for name, rows in first.items()}
    assert read_rows(engine, tables) == both, "a worker of the release before, upgraded later, wrote the second ones"
    step_to(engine, "downgrade", before)
    assert columns_of(engine) == columns
    assert read_rows(engine, tables) == both
    migrate(engine)
    assert read_rows(engine, tables) == both
    engine.dispose()


def load_tables(engine: Engine) -> dict[str, Table]:
    """Return the tables that there are, with the columns that they have now."""
    known = MetaData()
    with reading(engine) as connection:
        known.reflect(connection)
    return {name: table for name, table in sorted(known.tables.items()) if name not in _OF_STEPS}


def columns_of(engine: Engine) -> dict[str, set[str]]:
    seen = inspect(engine)
    return {table: {column["name"] for column in seen.get_columns(table)} for table in seen.get_table_names()}


def write_rows(engine: Engine, tables: dict[str, Table], number: int) -> dict[str, list[dict[str, Any]]]:
    """Write two rows into each table, one with every column, one with those that must be given; return them whole."""
    numbers = (2 * number, 2 * number + 1)
    with writing(engine) as connection:
        return {name: [_write(connection, table, one) for one in numbers] for name, table in tables.items()}


def read_rows(engine: Engine, tables: dict[str, Table]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each table, by those columns that it had when it was looked up, oldest first."""
    with reading(engine) as connection:
        return {name: _rows(connection, table) for name, table in tables.items()}


def _write(connection: Connection, table: Table, number: int) -> dict[str, Any]:
    is_whole = number % 2 == 0
    given = {one.name: _value(one, number) for one in table.columns if is_whole or _must_be_given(one)}
    connection.execute(insert(table).values(**given))
    (written,) = (row for row in _rows(connection, table) if given.items() <= row.items())
    return written


def _rows(connection: Connection, table: Table) -> list[dict[str, Any]]:
    found = [dict(row) for row in connection.execute(select(table)).mappings()]
    return sorted(found, key=lambda row: str([row[column.name] for column in table.primary_key]))


def _must_be_given(column: Column[Any]) -> bool:
    return column.primary_key or (not column.nullable and column.server_default is None)


def _value(column: Column[Any], number: int) -> Any:
    """Return a value of a column's type that no other row has, where the type has so many."""
    kind = column.type
    if isinstance(kind, types.Boolean):
        return number % 2 == 0
    if isinstance(kind, types.Integer):
        return number
    if isinstance(kind, (types.Numeric, types.Float)):
        return number + 0.5
    if isinstance(kind, types.DateTime):
        moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) + timedelta(minutes=number)
        return moment if kind.timezone else moment.replace(tzinfo=None)
    if isinstance(kind, types.JSON):
        return {"number": number}
    assert isinstance(kind, types.String), f"{column}: rows with {kind!r} are not written yet"
    return f"{number}-{column.name}"[: kind.length]
