"""What both halves of the problem call it, without polars or torch."""

from __future__ import annotations

from finetune30.data.problem import Score

NAME = "causal_lm"
SCORE = Score("eval_loss", greater_is_better=False, format="number")
