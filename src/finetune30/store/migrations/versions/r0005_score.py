"""The score of a run, whatever it learnt: value, name, direction and format; filled for the runs that there are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0005_score"
down_revision = "r0004_access"
additive = True

_OLD = ("status", "eval_accuracy", "train_runtime", "name_key")
_NEW = (*_OLD, "score")
#: Orders of the listing that there were before: name of the index -> first columns.
_ORDERS = {
    "created": (),
    "name": ("name_key",),
    "runtime": ("train_runtime",),
    "accuracy": ("eval_accuracy",),
    "status": ("status",),
}


def upgrade() -> None:
    """Add the columns, fill them, and let every index of the listing hold what its filters read."""
    op.add_column("runs", sa.Column("score", sa.Double))
    op.add_column("runs", sa.Column("score_name", sa.String(100)))
    op.add_column("runs", sa.Column("score_greater_is_better", sa.Boolean))
    op.add_column("runs", sa.Column("score_rank", sa.Double))
    op.add_column("runs", sa.Column("score_format", sa.String(20)))
    _fill()
    for name in _ORDERS:
        op.drop_index(f"ix_runs_by_{name}", "runs")
    _create_indexes({**_ORDERS, "score": ("score_name", "score_rank")}, _NEW)
    op.create_index("ix_runs_best", "runs", ["dataset_digest", "score_name", "score_rank", "created_at", "id"])


def downgrade() -> None:
    """Take them away."""
    op.drop_index("ix_runs_best", "runs")
    for name in (*_ORDERS, "score"):
        op.drop_index(f"ix_runs_by_{name}", "runs")
    for column in ("score_format", "score_rank", "score_greater_is_better", "score_name", "score"):
        op.drop_column("runs", column)
    _create_indexes(_ORDERS, _OLD)


def _create_indexes(orders: dict[str, tuple[str, ...]], filtered: tuple[str, ...]) -> None:
    for name, keys in orders.items():
        op.create_index(f"ix_runs_by_{name}", "runs", list(dict.fromkeys((*keys, "created_at", "id", *filtered))))


def _fill() -> None:
    """Read the score from the metrics: an error is the mean squared one, less is better; micro F1 is multi-label's."""
    runs = sa.table(
        "runs",
        *(sa.column(name) for name in ("metrics", "score", "score_name", "score_greater_is_better")),
        *(sa.column(name) for name in ("score_rank", "score_format")),
        *(sa.column(name, sa.Double) for name in ("eval_accuracy", "eval_f1")),
    )
    if op.get_bind().dialect.name == "postgresql":
        mse = "CASE WHEN jsonb_typeof(metrics -> 'eval_mse') = 'number' THEN (metrics ->> 'eval_mse')::float8 END"
        micro = "metrics -> 'eval_f1_micro'"
    else:
        numbers = "('integer', 'real')"
        mse = f"CASE WHEN json_type(metrics, '$.eval_mse') IN {numbers} THEN json_extract(metrics, '$.eval_mse') END"
        micro = "json_type(metrics, '$.eval_f1_micro')"
    squared_error: sa.ColumnElement[float] = sa.literal_column(f"({mse})", sa.Double)
    micro_f1: sa.ColumnElement[float] = sa.literal_column(f"({micro})")
    for name, value, kind, greater_is_better in (
        ("eval_mse", squared_error, sa.true(), False),
        ("eval_f1", runs.c.eval_f1, micro_f1.is_not(None), True),
        ("eval_accuracy", runs.c.eval_accuracy, micro_f1.is_(None), True),
    ):
        op.execute(
            sa.update(runs)
            .where(runs.c.metrics.is_not(None), runs.c.score_name.is_(None), kind, value.is_not(None))
            .values(
                score=value,
                score_name=name,
                score_greater_is_better=greater_is_better,
                score_rank=value if greater_is_better else -value,
                score_format="percent" if greater_is_better else "number",  # shares, and an error
            )
        )
