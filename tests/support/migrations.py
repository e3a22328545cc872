"""Steps between revisions of the database, and what its tables look like after them."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Engine, inspect

from finetune30.store import schema
from finetune30.store.database import writing
from finetune30.store.tables import schema_revisions


def step_to(engine: Engine, step: Literal["upgrade", "downgrade"], revision: str) -> None:
    """Take the steps to a revision, and leave the database as a release that ended with it does.

    Up to `schema.LAST_WITHOUT_MARKS` such a release noted the last revision and nothing else; later ones mark each.
    """
    known = schema.known_revisions()
    wanted = known[: known.index(revision) + 1]
    with writing(engine) as connection:
        lacking = schema.find_missing(connection)
        present = [name for name in known if name not in lacking]
        if step == "upgrade":
            schema.apply(connection, step, [name for name in wanted if name in lacking])
        else:
            schema.apply(connection, step, [name for name in reversed(present) if name not in wanted])
        if inspect(connection).has_table(schema_revisions.name):
            connection.execute(schema_revisions.delete())
            marks = [{"revision": name, "additive": schema.load_migration(name).additive} for name in wanted]
            connection.execute(schema_revisions.insert(), marks)
        schema.set_level(connection, min(revision, schema.LAST_WITHOUT_MARKS))


def schema_of(engine: Engine) -> tuple[set[str], set[str]]:
    """Return the columns and the indexes of `runs`."""
    seen = inspect(engine)
    names = {str(index["name"]): tuple(index["column_names"]) for index in seen.get_indexes("runs")}
    return {column["name"] for column in seen.get_columns("runs")}, {f"{name} {names[name]}" for name in names}
