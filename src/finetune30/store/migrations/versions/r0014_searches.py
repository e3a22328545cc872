"""Searches and their trials: which configurations are tried, each on record before it trains."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0014_searches"
down_revision = "r0013_run_sets"
additive = True


def upgrade() -> None:
    """Add the tables; which runs are those of trials is told by their idempotency keys."""
    tree = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "searches",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("request_sha256", sa.String(64), nullable=False),
        sa.Column("submitted_by", sa.String(200), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("finished_at", moment),
        sa.Column("config", tree, nullable=False),
        sa.Column("explicit_keys", tree, nullable=False),
        sa.Column("dataset_digest", sa.String(64), nullable=False),
        sa.Column("spec", tree, nullable=False),
        sa.Column("metric", sa.String(100), nullable=False),
        sa.Column("greater_is_better", sa.Boolean, nullable=False),
        sa.Column("failures_from", sa.Integer, nullable=False),
        sa.UniqueConstraint("submitted_by", "request_sha256", name="uq_searches_submitted_by"),
    )
    op.create_index("ix_searches_created", "searches", ["created_at"])
    op.create_index("ix_searches_status", "searches", ["status"])
    op.create_table(
        "search_trials",
        sa.Column("search_id", sa.String(32), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("labels", tree),
        sa.Column("parameters", tree, nullable=False),
        sa.Column("reused_from", sa.Integer),
        sa.Column("versions", tree, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("model_removed", sa.Boolean, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("finished_at", moment),
    )
    op.create_index("ix_search_trials_state", "search_trials", ["state", "search_id"])


def downgrade() -> None:
    """Take them away."""
    op.drop_table("search_trials")
    op.drop_table("searches")
