"""The name of the problem and the figure that its runs are ranked by."""

from __future__ import annotations

from finetune30.data.problem import Score

NAME = "causal_lm"
SCORE = Score("eval_loss", greater_is_better=False, format="number")
