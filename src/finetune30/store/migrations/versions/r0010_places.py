"""Places: how many of one worker a run takes, so that the queue can share them out from its index alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0010_places"
down_revision = "r0009_versions"
additive = True


def upgrade() -> None:
    """Add the column: every run so far takes one."""
    op.add_column("runs", sa.Column("places", sa.Integer(), nullable=False, server_default="1"))
    op.drop_index("ix_runs_waiting", "runs")
    _index("places")


def downgrade() -> None:
    """Take it away."""
    op.drop_index("ix_runs_waiting", "runs")
    _index()
    op.drop_column("runs", "places")


def _index(*more: str) -> None:
    turn: list[str | sa.TextClause] = ["status", "kind", "submitted_by", sa.text("priority DESC"), "queued_at", "id"]
    op.create_index("ix_runs_waiting", "runs", [*turn, "cancel_requested", *more])
