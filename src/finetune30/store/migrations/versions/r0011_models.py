"""The registry of models: versions, aliases and their events; and roles of keys that releases before do not know."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0011_models"
down_revision = "r0010_places"
additive = True


def upgrade() -> None:
    """Add the tables; the events can be neither changed nor removed, as those of runs."""
    op.create_table(
        "models",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("problem_type", sa.String(40), nullable=False),
        *_made(),
    )
    op.create_table(
        "model_versions",
        sa.Column("model", sa.String(63), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        *(sa.Column(f"{what}_sha256", sa.String(64), nullable=False) for what in _HASHED),
        sa.Column("facts", _json(), nullable=False),
        *_made(),
        sa.UniqueConstraint("model", "manifest_sha256", name="uq_model_versions_model"),
    )
    op.create_index("ix_model_versions_run_id", "model_versions", ["run_id"])
    op.create_table(
        "model_aliases",
        sa.Column("model", sa.String(63), primary_key=True),
        sa.Column("alias", sa.String(63), primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("moved_by", sa.String(200), nullable=False),
    )
    _create_events()
    op.add_column("api_keys", sa.Column("newer_role", sa.String(16)))


def downgrade() -> None:
    """Take them away."""
    op.drop_column("api_keys", "newer_role")
    for table in ("model_events", "model_aliases", "model_versions", "models"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_model_event_change()")


_HASHED = ("manifest", "adapter", "labels", "base", "version")


def _made() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
    )


def _json() -> Any:
    return sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def _create_events() -> None:
    op.create_table(
        "model_events",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("version", sa.Integer),
        sa.Column("from_version", sa.Integer),
        sa.Column("alias", sa.String(63)),
        sa.Column("generation", sa.Integer),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("detail", _json()),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_model_events_of_model", "model_events", ["model", "number"])
    if op.get_bind().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER model_events_refuse_{change.lower()} BEFORE {change} ON model_events "
                "BEGIN SELECT RAISE(ABORT, 'model_events is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION refuse_model_event_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'model_events is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER model_events_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON model_events "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_model_event_change()"
    )
