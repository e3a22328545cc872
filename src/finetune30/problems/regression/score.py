"""What both halves of the problem call it, without polars or torch."""

from __future__ import annotations

from finetune30.data.problem import Score

NAME = "regression"
SCORE = Score("eval_mse", greater_is_better=False, format="number")
