"""Keys of the API and the trail of what was asked of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0004_access"
down_revision = "r0003_dataset_versions"
additive = True


def upgrade() -> None:
    """Add both tables, and indexes for open runs of a key and for counting events."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(12), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("name", name="uq_api_keys_name"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("action", sa.String(100), nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("outcome", sa.Integer, nullable=False),
        sa.Column("client", sa.String(200), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_runs_open", "runs", ["submitted_by", "status"])
    op.create_index("ix_run_events_kind", "run_events", ["kind"])


def downgrade() -> None:
    """Take them away."""
    op.drop_index("ix_run_events_kind", "run_events")
    op.drop_index("ix_runs_open", "runs")
    op.drop_table("audit")
    op.drop_table("api_keys")
