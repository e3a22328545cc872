"""Which results and data folder belong to the database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0007_folders"
down_revision = "r0006_annotations"
additive = True


def upgrade() -> None:
    """Add the table; the next worker or API fills it."""
    op.create_table(
        "folders",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Take it away."""
    op.drop_table("folders")
