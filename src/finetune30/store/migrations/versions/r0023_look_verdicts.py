"""Looks at the test rows of two runs at once: what was said of both stands beside each of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0023_look_verdicts"
down_revision = "r0022_look_holders"
additive = True


def upgrade() -> None:
    """Add a column; earlier looks have no verdict."""
    op.add_column("test_looks", sa.Column("verdict", sa.JSON().with_variant(postgresql.JSONB(), "postgresql")))


def downgrade() -> None:
    """Take it away."""
    op.drop_column("test_looks", "verdict")
