"""Two versions of the package beside each other: which revisions only add, and what each worker is and takes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0009_versions"
down_revision = "r0008_fair_queue"
additive = True


def upgrade() -> None:
    """Add the table of revisions, which whoever migrates fills, and the columns of workers."""
    op.create_table(
        "schema_revisions",
        sa.Column("revision", sa.String(100), primary_key=True),
        sa.Column("additive", sa.Boolean, nullable=False),
        sa.Column("package_version", sa.String(40)),
        sa.Column("applied_at", sa.DateTime(timezone=True)),
    )
    op.add_column("workers", sa.Column("version", sa.String(40)))
    op.add_column("workers", sa.Column("draining", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("workers", sa.Column("refused", sa.JSON().with_variant(postgresql.JSONB(), "postgresql")))


def downgrade() -> None:
    """Take them away."""
    for column in ("refused", "draining", "version"):
        op.drop_column("workers", column)
    op.drop_table("schema_revisions")
