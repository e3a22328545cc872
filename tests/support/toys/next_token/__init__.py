"""Every token asks for the next one."""

from __future__ import annotations

from finetune30.data.problem import Score

SCORE = Score("eval_perplexity", greater_is_better=False, format="number")
