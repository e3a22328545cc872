"""Run sets: runs that belong together, as seeds of one configuration or folds of one data set do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0013_run_sets"
down_revision = "r0012_test_looks"
additive = True


def upgrade() -> None:
    """Add the table; which runs are those of a set is told by their idempotency keys."""
    tree = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.create_table(
        "run_sets",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("request_sha256", sa.String(64), nullable=False),
        sa.Column("submitted_by", sa.String(200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("config", tree, nullable=False),
        sa.Column("dataset_digest", sa.String(64), nullable=False),
        sa.Column("plan", tree, nullable=False),
        sa.UniqueConstraint("submitted_by", "request_sha256", name="uq_run_sets_submitted_by"),
    )
    op.create_index("ix_run_sets_created", "run_sets", ["created_at"])


def downgrade() -> None:
    """Take it away."""
    op.drop_table("run_sets")
