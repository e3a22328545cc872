"""The blocks that show how well numbers were predicted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetune30.blocks import Block, Curve, Figure, RowFilter, Words
from finetune30.values import is_number

_MEAN = Words("always the training rows' mean", "一律預測訓練資料平均值")


def view_regression(metrics: Mapping[str, Any]) -> list[Block]:
    """Return errors beside those of always predicting the mean, correlations, and how the residuals are spread.

    metrics: the tree of a run's metrics.json; what older ones lack is left out.
    """
    found = metrics.get("eval_baseline")
    baseline: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    rows = metrics.get("eval_samples")
    shown: tuple[tuple[str, Words, Any], ...] = (
        ("eval_mse", Words("Mean squared error", "均方誤差"), baseline.get("mse")),
        ("eval_mae", Words("Mean absolute error", "平均絕對誤差"), baseline.get("mae")),
        ("eval_pearson", Words("Pearson correlation", "Pearson 相關係數"), None),
        ("eval_spearman", Words("Spearman correlation", "Spearman 相關係數"), None),
        ("eval_loss", Words("Evaluation loss", "評估損失"), None),
    )
    drawn: list[Block] = [
        Figure(
            title,
            metrics[key],
            "number",
            rows=rows if isinstance(rows, int) and without is not None else None,
            baseline=(_MEAN, float(without)) if is_number(without) else None,
        )
        for key, title, without in shown
        if is_number(metrics.get(key))
    ]
    return [*drawn, *_residuals(metrics.get("eval_residuals"))]


def _residuals(found: Any) -> list[Block]:
    """Bars: how many rows have a residual (prediction less target) between two edges."""
    if not isinstance(found, Mapping):
        return []
    edges, counts = found.get("edges"), found.get("counts")
    if not isinstance(edges, list) or not isinstance(counts, list) or len(edges) != len(counts) + 1 or not counts:
        return []
    if not all(is_number(value) for value in (*edges, *counts)):
        return []
    last = len(counts) - 1
    # Without an end outside, so that no row falls between rounding and the outermost edge.
    filters: list[RowFilter] = [
        {"residual": [edges[place] if place else None, edges[place + 1] if place < last else None]}
        for place in range(len(counts))
    ]
    points = tuple(((edges[place] + edges[place + 1]) / 2, counts[place]) for place in range(len(counts)))
    title = Words("Residuals (prediction - target)", "殘差（預測 - 目標）")
    return [
        Curve(
            title,
            Words("Residual", "殘差"),
            Words("Rows", "筆數"),
            {"rows": points},
            as_bars=True,
            filters={"rows": tuple(filters)},
        )
    ]
