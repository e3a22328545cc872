"""Runs, their events and tombstones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0001_runs"
down_revision = None
additive = False

_LISTED = ("created_at", "id", "status", "eval_accuracy", "train_runtime", "name_key")


def upgrade() -> None:
    """Make the tables, and let the database itself refuse changes of events."""
    _create_runs()
    _create_run_events()
    op.create_table(
        "tombstones",
        sa.Column("run_id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("folder", sa.String(400), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Drop everything."""
    for table in ("tombstones", "run_events", "runs"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_event_change()")


def _create_runs() -> None:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.create_table(
        "runs",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("name_key", sa.String(400), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("lease_owner", sa.String(400)),
        sa.Column("lease_until", sa.DateTime(timezone=True)),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("folder", sa.String(400), nullable=False),
        sa.Column("config", json, nullable=False),
        sa.Column("config_digest", sa.String(64), nullable=False),
        sa.Column("model_name", sa.Text),
        sa.Column("dataset_name", sa.Text),
        sa.Column("dataset_digest", sa.String(128)),
        sa.Column("device", sa.String(64)),
        sa.Column("precision", sa.String(16)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("train_runtime", sa.Double),
        sa.Column("eval_accuracy", sa.Double),
        sa.Column("eval_f1", sa.Double),
        sa.Column("eval_loss", sa.Double),
        sa.Column("metrics", json),
        sa.Column("error", json),
        sa.Column("progress", json),
        sa.Column("manifest_sha256", sa.String(64)),
        sa.Column("submitted_by", sa.String(200), nullable=False),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("request_sha256", sa.String(64)),
        sa.UniqueConstraint("folder", name="uq_runs_folder"),
        sa.UniqueConstraint("submitted_by", "idempotency_key", name="uq_runs_submitted_by"),
    )
    orders = {"created": (), "name": ("name_key",), "runtime": ("train_runtime",), "accuracy": ("eval_accuracy",)}
    for name, keys in {**orders, "status": ("status",)}.items():
        op.create_index(f"ix_runs_by_{name}", "runs", list(dict.fromkeys((*keys, *_LISTED))))
    op.create_index("ix_runs_totals", "runs", ["status", "eval_accuracy", "train_runtime"])
    op.create_index("ix_runs_name", "runs", ["name", "created_at"])
    op.create_index("ix_runs_queue", "runs", ["status", sa.text("priority DESC"), "queued_at", "id"])


def _create_run_events() -> None:
    op.create_table(
        "run_events",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("from_status", sa.String(16)),
        sa.Column("to_status", sa.String(16)),
        sa.Column("owner", sa.String(400)),
        sa.Column("detail", sa.JSON().with_variant(postgresql.JSONB(), "postgresql")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_run_events_of_run", "run_events", ["run_id", "number"])
    if op.get_bind().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER run_events_refuse_{change.lower()} BEFORE {change} ON run_events "
                "BEGIN SELECT RAISE(ABORT, 'run_events is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION refuse_event_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'run_events is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER run_events_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON run_events "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_event_change()"
    )
