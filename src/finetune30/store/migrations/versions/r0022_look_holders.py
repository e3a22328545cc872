"""Looks at test rows: which process takes one, and until when one of a run is held; no other begins beside it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0022_look_holders"
down_revision = "r0021_mirror_watch"
additive = True


def upgrade() -> None:
    """Add columns; a look at a run of the release before is held by nobody, as it was."""
    op.add_column("test_looks", sa.Column("held_by", sa.String(400)))
    op.add_column("test_looks", sa.Column("held_until", sa.DateTime(timezone=True)))
    op.add_column("search_tests", sa.Column("held_by", sa.String(400)))


def downgrade() -> None:
    """Take them away."""
    op.drop_column("search_tests", "held_by")
    op.drop_column("test_looks", "held_until")
    op.drop_column("test_looks", "held_by")
