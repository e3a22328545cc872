"""An index of dataset versions and their tags."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0003_dataset_versions"
down_revision = "r0002_workers"
additive = True


def upgrade() -> None:
    """Add the tables of versions and tags."""
    op.create_table(
        "dataset_versions",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("problem_type", sa.String(40), nullable=False),
        sa.Column("num_labels", sa.Integer(), nullable=False),
        sa.Column("train_rows", sa.Integer(), nullable=False),
        sa.Column("evaluation_rows", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("parent", sa.String(64)),
        sa.Column("note", sa.Text(), nullable=False),
    )
    op.create_index("ix_dataset_versions_created", "dataset_versions", ["created_at"])
    op.create_table(
        "dataset_tags",
        sa.Column("tag", sa.String(80), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
    )
    op.create_index("ix_dataset_tags_digest", "dataset_tags", ["digest"])


def downgrade() -> None:
    """Take both away."""
    op.drop_table("dataset_tags")
    op.drop_table("dataset_versions")
