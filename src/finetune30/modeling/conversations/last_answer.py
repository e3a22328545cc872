"""The last answer of a row: what it answers, and which tokens it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from finetune30.modeling.conversations.placing import Span
from finetune30.modeling.conversations.rendering import ASSISTANT
from finetune30.modeling.conversations.tokenized_row import behind_something


def asked_last(row: Mapping[str, Any]) -> str:
    """Return what the last answer of a row of the canonical form answers; "" where it has none."""
    if "prompt" in row:
        return str(row["prompt"])
    messages = row.get("messages", ())
    last = max((i for i, message in enumerate(messages) if message["role"] == ASSISTANT), default=0)
    turns = [str(message.get("content") or "") for message in messages[:last] if message["role"] == "user"]
    return turns[-1] if turns else ""


def place_answer(span: Span | None, places: Sequence[tuple[int, int]], *, has_end: bool) -> tuple[int, int] | None:
    """Return which tokens (first, stop) an answer's characters are; None where there is none, or nothing before it.

    `places` are the characters of each token; `has_end`: the last token is the tokenizer's end, which belongs to it.
    """
    if span is None:
        return None
    inside = [place for place, (start, stop) in enumerate(places) if start < span.stop and stop > span.start]
    if not inside:
        return None
    return behind_something(inside[0], len(places) if has_end else inside[-1] + 1)
