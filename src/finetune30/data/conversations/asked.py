"""What conversations ask on the way to their last answer: a row is not judged by what another one learnt there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import polars as pl

from finetune30.data.conversations.conversation import ASSISTANT, Conversation
from finetune30.data.conversations.views import has_conversations, read_conversations
from finetune30.data.texts import CONVERSATION

#: How the canonical form writes that the assistant speaks.
_SPEAKS = '"role":"assistant"'


def earlier_questions(conversation: Conversation) -> Iterator[str]:
    """Return what comes before each learnt answer but the last, as `with_questions` has what comes before that one."""
    lines = conversation.lines()
    first = len(lines) - len(conversation.messages)
    for place, message in enumerate(conversation.messages[:-1]):
        if place and message.role == ASSISTANT and message.weight is None:
            yield "\n".join(lines[: first + place]).strip()


def find_earlier(rows: pl.DataFrame, wanted: Collection[str]) -> list[tuple[int, str]]:
    """Return position and question of every earlier question of rows that is one of the wanted (a set or mapping)."""
    places = _with_several(rows)
    if not len(places) or not wanted:
        return []
    conversations = read_conversations(rows[CONVERSATION].gather(places))
    return [
        (place, question)
        for place, conversation in zip(places, conversations, strict=True)
        if conversation is not None
        for question in earlier_questions(conversation)
        if question in wanted
    ]


def join_questions(rows: pl.DataFrame, questions: pl.Series) -> pl.Series:
    """Return the questions of rows, one for all that stand on the way to each other: such rows belong on one side.

    Rows that no other one leads to keep their own.
    """
    if not len(_with_several(rows)):
        return questions
    known = {question.strip(): question for question in questions.unique(maintain_order=True)}
    above: dict[str, str] = {}
    for place, earlier in find_earlier(rows, known):
        ends = sorted({_top(above, questions[place]), _top(above, known[earlier])})
        above |= dict.fromkeys(ends[1:], ends[0])
    if not above:
        return questions
    return pl.Series(questions.name, [_top(above, question) for question in questions], dtype=pl.String)


def _top(above: Mapping[str, str], question: str) -> str:
    while question in above:
        question = above[question]
    return question


def _with_several(rows: pl.DataFrame) -> pl.Series:
    """Return the positions of the rows in which an assistant speaks more than once."""
    if not has_conversations(rows):
        return pl.Series([], dtype=pl.UInt32)
    return (rows[CONVERSATION].str.count_matches(_SPEAKS, literal=True).fill_null(0) > 1).arg_true()
