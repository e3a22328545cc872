"""Rows of conversations as rules see them: a text in the place of the JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import polars as pl

from finetune30.data.conversations.conversation import Conversation, load
from finetune30.data.texts import CONVERSATION, text_columns


def has_conversations(rows: pl.DataFrame) -> bool:
    """Say whether rows are conversations."""
    return CONVERSATION in text_columns(rows)


def read_conversations(cells: Iterable[str | None]) -> list[Conversation | None]:
    """Return the conversations of cells, None for those that are none: a rule of its own says so."""
    return [_load(cell) for cell in cells]


def with_contents(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with everything that is said in the place of each conversation; others as they are."""
    return _with(rows, lambda found: "\n".join(found.contents))


def with_answers(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with the answers in the place of each conversation; others as they are."""
    return _with(rows, lambda found: "\n".join(found.answers))


def with_questions(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with what comes before the last answer in the place of each conversation; others as they are.

    The last answer stands in `label_text`, where rows have that column. What is not read is its own question.
    """
    if not has_conversations(rows):
        return rows
    pairs = [
        (cell or "", "") if found is None else found.split_answer()
        for cell, found in zip(rows[CONVERSATION], read_conversations(rows[CONVERSATION]), strict=True)
    ]
    questions = pl.Series(CONVERSATION, [question for question, _ in pairs], dtype=pl.String)
    answers = pl.Series("label_text", [answer for _, answer in pairs], dtype=pl.String)
    return rows.with_columns(questions, *([answers] if "label_text" in rows.columns else []))


def _with(rows: pl.DataFrame, read: Callable[[Conversation], str]) -> pl.DataFrame:
    if not has_conversations(rows):
        return rows
    found = read_conversations(rows[CONVERSATION])
    texts = ["" if conversation is None else read(conversation) for conversation in found]
    return rows.with_columns(pl.Series(CONVERSATION, texts, dtype=pl.String))


def _load(cell: str | None) -> Conversation | None:
    try:
        return None if cell is None else load(cell)
    except (ValueError, RecursionError):
        return None
