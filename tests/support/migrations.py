"""Steps between revisions of the database, and what its tables look like after them."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, inspect

from finetune30.store.database import MIGRATIONS, writing


def step_to(engine: Engine, step: str, revision: str) -> None:
    """Take the step `upgrade` or `downgrade` to a revision."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        getattr(command, step)(config, revision)


def schema_of(engine: Engine) -> tuple[set[str], set[str]]:
    """Return the columns and the indexes of `runs`."""
    seen = inspect(engine)
    names = {str(index["name"]): tuple(index["column_names"]) for index in seen.get_indexes("runs")}
    return {column["name"] for column in seen.get_columns("runs")}, {f"{name} {names[name]}" for name in names}
