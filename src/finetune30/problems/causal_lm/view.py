"""The blocks that show how well a model goes on with texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetune30.blocks import Block, Figure, Format, Words
from finetune30.values import is_number


def view_causal_lm(metrics: Mapping[str, Any]) -> list[Block]:
    """Return loss, perplexity and token accuracy, all of the tokens that are asked for.

    metrics: the tree of a run's metrics.json; what older ones lack is left out.
    """
    found = metrics.get("eval_samples")
    rows = found if isinstance(found, int) else None
    shown: tuple[tuple[str, Words, Format, int | None], ...] = (
        ("eval_loss", Words("Evaluation loss", "評估損失"), "number", rows),
        ("eval_perplexity", Words("Perplexity", "困惑度"), "number", None),
        ("eval_token_accuracy", Words("Token accuracy", "詞元準確率"), "percent", None),
    )
    return [
        Figure(title, metrics[key], form, rows=count)
        for key, title, form, count in shown
        if is_number(metrics.get(key))
    ]
