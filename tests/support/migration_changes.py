"""What a migration does to a database, seen from outside: the schema before and after it, and its statements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, event, inspect

#: Statements after which something that an older package reads or writes is not as it was, whatever the schema says.
_MORE_THAN_ADDING = re.compile(
    r"DROP\s+(?!INDEX)|RENAME\b|ALTER\s+COLUMN|DELETE\s+FROM|TRUNCATE|CREATE\s+(CONSTRAINT\s+)?TRIGGER|REPLACE\s+INTO",
    re.IGNORECASE,
)
_TRIGGER = re.compile(r"CREATE\s+TRIGGER\s.*\sON\s+(\w+)", re.IGNORECASE | re.DOTALL)
_UPDATE = re.compile(r"UPDATE\s+(\w+)\s+SET\s+(.*?)(\s+WHERE\b.*)?$", re.IGNORECASE | re.DOTALL)
_SET_COLUMN = re.compile(r"(?:^|,)\s*\"?(\w+)\"?\s*=")


def find_more_than_additions(connection: Connection, migration: ModuleType) -> list[str]:
    """Carry a migration out; return what it did that packages from before it may not bear, in words."""
    before = _schema_of(connection)
    with _statements_of(connection) as statements, Operations.context(MigrationContext.configure(connection)):
        migration.upgrade()
    return [*_compare(before, _schema_of(connection)), *_judge(statements, before)]


def _schema_of(connection: Connection) -> dict[str, dict[str, Any]]:
    seen = inspect(connection)
    return {
        table: {
            "columns": {column["name"]: column for column in seen.get_columns(table)},
            "key": tuple(seen.get_pk_constraint(table)["constrained_columns"]),
            "unique": {tuple(found["column_names"]) for found in seen.get_unique_constraints(table)}
            | {tuple(found["column_names"]) for found in seen.get_indexes(table) if found["unique"]},
            "checks": {found["sqltext"] for found in seen.get_check_constraints(table)},
            "foreign": {tuple(found["constrained_columns"]) for found in seen.get_foreign_keys(table)},
        }
        for table in seen.get_table_names()
    }


def _compare(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> Iterator[str]:
    for table, old in before.items():
        if table not in after:
            yield f"table {table} is gone"
            continue
        new = after[table]
        for name, column in old["columns"].items():
            if name not in new["columns"]:
                yield f"column {table}.{name} is gone"
                continue
            now = new["columns"][name]
            if str(column["type"]) != str(now["type"]):
                yield f"column {table}.{name} was {column['type']} and is {now['type']}"
            if column["nullable"] and not now["nullable"]:
                yield f"column {table}.{name} takes no null any more"
            if column["default"] != now["default"]:
                yield f"column {table}.{name} has another default"
        for name in new["columns"].keys() - old["columns"].keys():
            column = new["columns"][name]
            if not column["nullable"] and column["default"] is None:
                yield f"column {table}.{name} is new, takes no null and has no default of the server"
        for what in ("key", "unique", "checks", "foreign"):
            if new[what] != old[what]:
                yield f"{what} of {table} was {old[what]} and is {new[what]}"


def _judge(statements: list[str], before: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Look for what the schema does not show: data that is changed or taken away, triggers, tables made anew."""
    for statement in statements:
        guarded = _TRIGGER.search(statement)
        if guarded and guarded[1] not in before:
            continue  # of a table that came with it, which older packages do not write
        if _MORE_THAN_ADDING.search(statement):
            yield f"statement: {statement}"
        elif update := _UPDATE.match(statement.strip()):
            there = before.get(update[1], {"columns": {}})["columns"]
            for name in _SET_COLUMN.findall(update[2]):
                if name in there:
                    yield f"column {update[1]}.{name} of rows that are there is changed"


@contextmanager
def _statements_of(connection: Connection) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(connection, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(connection, "before_cursor_execute", note)
