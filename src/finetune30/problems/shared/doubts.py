"""The codes that doubts about an evaluation have in common."""

from __future__ import annotations

#: Every row gets (nearly) the same answer.
ONE_ANSWER = "one_answer"
#: The score cannot be told from that of an answer that looks at no text.
NOT_ABOVE_BASELINE = "not_above_baseline"
