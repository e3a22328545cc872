"""Workers that report themselves, and the keys that a submitter named."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0002_workers"
down_revision = "r0001_runs"
additive = True


def upgrade() -> None:
    """Add the table of workers and the column `explicit_keys`."""
    op.create_table(
        "workers",
        sa.Column("owner", sa.String(400), primary_key=True),
        sa.Column("node", sa.String(200), nullable=False),
        sa.Column("slots", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
    )
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("runs", sa.Column("explicit_keys", json))


def downgrade() -> None:
    """Take both away."""
    op.drop_column("runs", "explicit_keys")
    op.drop_table("workers")
