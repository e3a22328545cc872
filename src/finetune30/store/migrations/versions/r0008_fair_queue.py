"""The fair queue: the waiting runs of each submitter, and when each last got a place, from indexes alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0008_fair_queue"
down_revision = "r0007_folders"
additive = True


def upgrade() -> None:
    """Add the indexes; the one by priority alone has served its time."""
    op.create_index("ix_runs_served", "runs", ["submitted_by", "kind", "started_at"])
    op.create_index(
        "ix_runs_waiting",
        "runs",
        ["status", "kind", "submitted_by", sa.text("priority DESC"), "queued_at", "id", "cancel_requested"],
    )
    op.drop_index("ix_runs_queue", "runs")


def downgrade() -> None:
    """Take it away."""
    op.create_index("ix_runs_queue", "runs", ["status", sa.text("priority DESC"), "queued_at", "id"])
    op.drop_index("ix_runs_waiting", "runs")
    op.drop_index("ix_runs_served", "runs")
