"""What people write on a run: note, tags, star, archived; and how often it was edited."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0006_annotations"
down_revision = "r0005_score"
additive = True

_OLD = ("status", "eval_accuracy", "train_runtime", "name_key", "score")
_NEW = (*_OLD, "archived", "starred", "tags")
#: Orders of the listing: name of the index -> first columns.
_ORDERS = {
    "created": (),
    "name": ("name_key",),
    "runtime": ("train_runtime",),
    "accuracy": ("eval_accuracy",),
    "status": ("status",),
    "score": ("score_name", "score_rank"),
}


def upgrade() -> None:
    """Add the columns, and let every index of the listing hold what its filters read."""
    op.add_column("runs", sa.Column("note", sa.Text, nullable=False, server_default=sa.text("''")))
    op.add_column("runs", sa.Column("tags", sa.Text, nullable=False, server_default=sa.text("''")))
    op.add_column("runs", sa.Column("starred", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("runs", sa.Column("archived", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("runs", sa.Column("edits", sa.Integer, nullable=False, server_default="0"))
    _index_anew(_NEW)
    op.create_index("ix_runs_tags", "runs", ["tags", "archived"])


def downgrade() -> None:
    """Take them away."""
    op.drop_index("ix_runs_tags", "runs")
    _index_anew(_OLD)
    for column in ("edits", "archived", "starred", "tags", "note"):
        op.drop_column("runs", column)


def _index_anew(filtered: tuple[str, ...]) -> None:
    for name, keys in _ORDERS.items():
        op.drop_index(f"ix_runs_by_{name}", "runs")
        op.create_index(f"ix_runs_by_{name}", "runs", list(dict.fromkeys((*keys, "created_at", "id", *filtered))))
