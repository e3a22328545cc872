"""Test looks: each time that somebody opens the test rows of a run, whether or not it came to a result."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0012_test_looks"
down_revision = "r0011_models"
additive = True


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "test_looks",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("run_id", sa.String(32), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_by", sa.String(200), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("result", sa.JSON().with_variant(postgresql.JSONB(), "postgresql")),
        sa.Column("error", sa.JSON().with_variant(postgresql.JSONB(), "postgresql")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_test_looks_of_run", "test_looks", ["run_id", "number"])


def downgrade() -> None:
    """Take it away."""
    op.drop_table("test_looks")
