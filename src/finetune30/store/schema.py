"""The revisions of the database: which there are, which were applied, and whether this package may work on them.

Migrations only add; what they made superfluous is removed by a release after. So a database may be ahead of a package
that opens it: revisions that the package does not know are accepted while each of them is marked additive. The mark has
to be in the database, since the older package has not their files: `schema_revisions` holds it.

`alembic_version` names the last revision that a package must know. Revisions that are additive leave it as it is, so
releases from before the marks, which accept nothing but revisions that they know, go on too.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    insert,
    inspect,
    select,
    text,
)

import finetune30
from finetune30 import failpoints
from finetune30.errors import StorageError
from finetune30.store.database import reading, writing
from finetune30.store.records import utc_now
from finetune30.store.tables import schema_revisions

MIGRATIONS = Path(__file__).parent / "migrations"
#: The last revision from before the marks: packages that end with it, or earlier, know of none that only adds.
LAST_WITHOUT_MARKS = "r0008_fair_queue"

_MIGRATION_LOCK = 0x46543330  # "FT30": the advisory lock that serialises migrations on PostgreSQL
_level = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def migrate(engine: Engine) -> None:
    """Apply the revisions that the database lacks, all or none; any number of processes may do so at the same time.

    Raises StorageError when the database has revisions of another version of the package that are not mere additions.
    """
    with reading(engine) as connection:
        if not find_missing(connection):
            return
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        if missing := find_missing(connection):
            apply(connection, "upgrade", missing)
            _record(connection, missing)
            failpoints.reach("schema.before_commit")


def known_revisions() -> list[str]:
    """Return the revisions that the package ships, oldest first; a migration file is named by its revision."""
    return sorted(path.stem for path in (MIGRATIONS / "versions").glob("r[0-9]*.py"))


def load_migration(revision: str) -> ModuleType:
    """Return the module of a revision: `upgrade`, `downgrade`, and `additive`, whether it does nothing but add."""
    return importlib.import_module(f"finetune30.store.migrations.versions.{revision}")


def find_missing(connection: Connection) -> list[str]:
    """Return the revisions of this package that the database lacks, oldest first.

    Raises StorageError when this package must not work on the database.
    """
    known = known_revisions()
    level, marks = _load_level(connection), _load_marks(connection)
    if level is not None and level not in known:
        raise _not_additive(level, known)
    behind_level = known[: known.index(level) + 1] if level is not None else []
    missing = [revision for revision in known if revision not in marks and revision not in behind_level]
    unknown = sorted(marks.keys() - set(known))
    for revision in unknown:
        if not marks[revision]:
            raise _not_additive(revision, known)
    if unknown and missing:
        raise StorageError(
            f"the database has schema {unknown[0]}, which this version of finetune30 does not know, and lacks "
            f"{missing[0]}, which it needs: they come from two lines of development",
            _REMEDY,
        )
    return missing


def apply(connection: Connection, step: str, revisions: Sequence[str]) -> None:
    """Take the step `upgrade` or `downgrade` of each revision, in the order given, within the caller's transaction."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    with Operations.context(MigrationContext.configure(connection)):
        for revision in revisions:
            getattr(load_migration(revision), step)()


def set_level(connection: Connection, revision: str) -> None:
    """Let `alembic_version` name this revision."""
    _level.create(connection, checkfirst=True)
    connection.execute(_level.delete())
    connection.execute(insert(_level).values(version_num=revision))


def _record(connection: Connection, applied: Sequence[str]) -> None:
    """Note what was applied just now, and the revisions from before the marks where they are not noted yet."""
    known, marks = known_revisions(), _load_marks(connection)
    for revision in known:
        if revision not in marks:
            is_new = revision in applied
            row = {
                "revision": revision,
                "additive": load_migration(revision).additive,
                "package_version": finetune30.__version__ if is_new else None,
                "applied_at": utc_now() if is_new else None,
            }
            connection.execute(insert(schema_revisions).values(**row))
    must_know = known.index(LAST_WITHOUT_MARKS) + 1
    set_level(connection, [r for r in known if r in known[:must_know] or not load_migration(r).additive][-1])


def _load_level(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_level.name):
        return None
    return connection.execute(select(_level.c.version_num)).scalar()


def _load_marks(connection: Connection) -> dict[str, bool]:
    """Return revision -> whether it only adds, of the revisions that are noted; none in a database from before that."""
    if not inspect(connection).has_table(schema_revisions.name):
        return {}
    rows = connection.execute(select(schema_revisions.c.revision, schema_revisions.c.additive))
    return {row.revision: row.additive for row in rows}


_REMEDY = "update finetune30, or point FT30_DATABASE_URL at another database"


def _not_additive(revision: str, known: list[str]) -> StorageError:
    return StorageError(
        f"the database has schema {revision}, which does more than add to what was there; "
        f"this version of finetune30 knows up to {known[-1]}",
        _REMEDY,
    )
