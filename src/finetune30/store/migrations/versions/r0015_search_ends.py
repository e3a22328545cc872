"""Ends of searches: the best against the default, and each opening of the test rows for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0015_search_ends"
down_revision = "r0014_searches"
additive = True


def upgrade() -> None:
    """Add the tables; searches that were made before have no end."""
    tree = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "search_ends",
        sa.Column("search_id", sa.String(32), primary_key=True),
        sa.Column("tried", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("best", sa.Integer, nullable=False),
        sa.Column("default_set", sa.String(32)),
        sa.Column("best_set", sa.String(32)),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("judged_at", moment),
        sa.Column("verdict", tree),
        sa.Column("left_unopened", sa.Text),
    )
    op.create_index("ix_search_ends_judged", "search_ends", ["judged_at", "search_id"])
    op.create_table(
        "search_tests",
        sa.Column("search_id", sa.String(32), primary_key=True),
        sa.Column("count", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("tried", sa.Integer, nullable=False),
        sa.Column("opened_at", moment, nullable=False),
        sa.Column("opened_by", sa.String(200), nullable=False),
        sa.Column("ended_at", moment),
        sa.Column("result", tree),
        sa.Column("error", tree),
    )


def downgrade() -> None:
    """Take them away."""
    op.drop_table("search_tests")
    op.drop_table("search_ends")
