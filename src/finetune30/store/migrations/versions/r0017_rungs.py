"""Runs that pause at a share of their steps, and what is decided of trials there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0017_rungs"
down_revision = "r0016_certificates"
additive = True


def upgrade() -> None:
    """Add columns and the table; runs that were made before never pause, trials were never stopped."""
    tree = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    moment = sa.DateTime(timezone=True)
    op.add_column("runs", sa.Column("pause_at", sa.Double))
    op.add_column("runs", sa.Column("paused_at", moment))
    op.add_column("runs", sa.Column("paused", tree))
    op.create_index("ix_runs_paused", "runs", ["paused_at"])
    op.add_column("search_trials", sa.Column("stopped_at", sa.Double))
    op.create_table(
        "search_rungs",
        sa.Column("search_id", sa.String(32), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("rung", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("total_steps", sa.Integer, nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("compared", tree, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("decided_at", moment, nullable=False),
    )


def downgrade() -> None:
    """Take them away."""
    op.drop_table("search_rungs")
    op.drop_column("search_trials", "stopped_at")
    op.drop_index("ix_runs_paused", table_name="runs")
    op.drop_column("runs", "paused")
    op.drop_column("runs", "paused_at")
    op.drop_column("runs", "pause_at")
