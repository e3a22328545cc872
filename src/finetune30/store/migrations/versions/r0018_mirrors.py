"""Mirrors: which trackers are followed since when, and how far each run was carried to each of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0018_mirrors"
down_revision = "r0017_rungs"
additive = True


def upgrade() -> None:
    """Add the tables; runs of before are carried to a tracker when somebody asks for it."""
    tree = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "mirrors",
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("since", moment, nullable=False),
        sa.Column("looked_at", moment),
        sa.Column("error", sa.Text),
    )
    op.create_table(
        "mirror_cursors",
        sa.Column("run_id", sa.String(32), primary_key=True),
        sa.Column("mirror", sa.String(16), primary_key=True),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("remote", tree),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("records", sa.Integer, nullable=False),
        sa.Column("told", sa.String(64), nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("try_at", moment),
        sa.Column("held_by", sa.String(400)),
        sa.Column("held_until", moment),
        sa.Column("updated_at", moment, nullable=False),
    )
    op.create_index("ix_mirror_cursors_mirror", "mirror_cursors", ["mirror", "told"])


def downgrade() -> None:
    """Take them away."""
    op.drop_table("mirror_cursors")
    op.drop_table("mirrors")
