"""The texts of rows, whatever a problem calls them.

Prepared rows have a column for each text role of their problem, in the order of the roles, beside those that the data
room keeps about every row. So the texts are all columns that are not the data room's own; no text role may have such a
name (`finetune30.data.problem.Role`). The first text is the main one.

A text that is called `conversation` holds conversations in canonical form (`finetune30.data.conversations`): rules and
counts look at what was said in it, not at its JSON.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from finetune30.data.problem import ROW_COLUMNS

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.problem import ProblemChoice

#: The text that holds conversations.
CONVERSATION = "conversation"


def text_columns(rows: pl.DataFrame) -> list[str]:
    """Return the columns of text of rows, the main one first; an optional one that the file lacks holds nothing."""
    return [name for name in rows.columns if name not in ROW_COLUMNS]


def filled_texts(rows: pl.DataFrame) -> list[str]:
    """Return the main column of text and those others in which any row has something."""
    main, *others = text_columns(rows)
    return [main, *(name for name in others if rows[name].null_count() < rows.height)]


def texts_and_pairs(rows: pl.DataFrame) -> tuple[list[str], list[str] | None]:
    """Return what a tokenizer is asked: the main texts and the second ones, None where no row has a second text."""
    texts, *others = (rows[name].fill_null("").to_list() for name in filled_texts(rows)[:2])
    return texts, others[0] if others else None


def is_blank(text: str) -> bool:
    """Tell whether a text holds nothing that can be seen: white space, controls and formats (zero-width ones) only."""
    return all(character.isspace() or unicodedata.category(character) in ("Cc", "Cf") for character in text)


def learns_conversations(problem: ProblemChoice) -> bool:
    """Say whether what the model of a problem is told is a conversation, which it goes on with."""
    return problem.columns[0].name == CONVERSATION
