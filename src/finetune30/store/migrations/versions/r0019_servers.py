"""Servers: which of them answer under names of models, and with which version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0019_servers"
down_revision = "r0018_mirrors"
additive = True


def upgrade() -> None:
    """Add the table; servers of the release before are not in it."""
    tree = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "servers",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(400), nullable=False),
        sa.Column("address", sa.String(300), nullable=False),
        sa.Column("started_at", moment, nullable=False),
        sa.Column("seen_at", moment, nullable=False),
        sa.Column("names", tree, nullable=False),
    )


def downgrade() -> None:
    """Take it away."""
    op.drop_table("servers")
