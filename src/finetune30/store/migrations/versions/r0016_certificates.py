"""Certificates of versions, and the states of a version whose check is not over or has failed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r0016_certificates"
down_revision = "r0015_search_ends"
additive = True


def upgrade() -> None:
    """Add the columns; a version of before has no certificate until it is verified."""
    op.add_column("model_versions", sa.Column("newer_state", sa.String(16)))
    tree = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("model_versions", sa.Column("certificate", tree))


def downgrade() -> None:
    """Take them away."""
    op.drop_column("model_versions", "certificate")
    op.drop_column("model_versions", "newer_state")
