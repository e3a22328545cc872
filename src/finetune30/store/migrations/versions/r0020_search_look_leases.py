"""Looks of searches at test rows: until when one that goes on is held, so that no other begins beside it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0020_search_look_leases"
down_revision = "r0019_servers"
additive = True


def upgrade() -> None:
    """Add the column; a look of the release before is held by nobody, as it was."""
    op.add_column("search_tests", sa.Column("held_until", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Take it away."""
    op.drop_column("search_tests", "held_until")
