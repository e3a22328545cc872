"""The section about conversations, from which language models learn."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from finetune30.config.field_types import Day, FilePath, Section


class ChatConfig(Section):
    """How language models learn from conversations (model.problem_type causal_lm)."""

    template: FilePath | None = Field(
        None,
        max_length=1000,
        description="Chat template: null for the model's own, 'chatml' for models without one, or a Jinja file.",
    )
    date: Day | None = Field(
        None,
        description="What a chat template that writes the date takes for today (YYYY-MM-DD): null for the day on which "
        "a run begins, which it keeps.",
    )
    train_on: Literal["assistant", "last", "all"] = Field(
        "assistant", description="What carries loss: all answers of the assistant, the last one, or every message."
    )
    overlong: Literal["drop", "keep_answer", "cut"] = Field(
        "keep_answer",
        description="Rows above data.max_length: drop: set aside; keep_answer: the context is cut from its oldest "
        "turns, and a plain text comes in parts; cut: the end is cut off.",
    )
    eval_generations: int = Field(
        20, ge=0, le=100_000, description="Evaluation rows that are answered at the end, with and without the adapter."
    )
    max_new_tokens: int = Field(128, ge=1, le=131_072, description="Longest answer that is generated, in tokens.")
    general_rows: int = Field(
        48, ge=0, le=48, description="General conversations whose loss is measured with and without the adapter."
    )
