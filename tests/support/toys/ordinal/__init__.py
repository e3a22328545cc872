"""Classes in an order: the model says how many thresholds a text is above."""

from __future__ import annotations

from finetune30.data.problem import Score

#: Mean distance between the class that was asked for and the one that was given, in steps.
SCORE = Score("eval_steps_off", greater_is_better=False, format="number")
