"""Mirrors: whether a process follows them, what ended one by itself, and runs that are no longer carried."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0021_mirror_watch"
down_revision = "r0020_search_look_leases"
additive = True


def upgrade() -> None:
    """Add columns; a mirror that a release before follows is not known to be followed until this one does."""
    moment = sa.DateTime(timezone=True)
    op.add_column("mirrors", sa.Column("followed_by", sa.String(400)))
    op.add_column("mirrors", sa.Column("seen_at", moment))
    op.add_column("mirrors", sa.Column("fault", sa.Text))
    op.add_column("mirrors", sa.Column("fault_at", moment))
    op.add_column("mirror_cursors", sa.Column("stopped_at", moment))


def downgrade() -> None:
    """Take them away."""
    op.drop_column("mirror_cursors", "stopped_at")
    op.drop_column("mirrors", "fault_at")
    op.drop_column("mirrors", "fault")
    op.drop_column("mirrors", "seen_at")
    op.drop_column("mirrors", "followed_by")
