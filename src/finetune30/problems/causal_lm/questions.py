"""Which rows are asked at the end of a training, and with what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finetune30.data.encoding import IGNORED, EncodedSplit


@dataclass(frozen=True)
class Question:
    """The last answer that a row asks for: the tokens before it and its own, with the mark that ends it.

    `asked`: what it answers, as it was written; "" where the row says nothing of the kind.
    """

    row_id: str
    prompt: list[int]
    reference: list[int]
    expected: tuple[str, ...] = ()
    asked: str = ""


def choose_questions(split: EncodedSplit, count: int) -> list[Question]:
    """Return the last questions of so many rows, evenly taken from those whose last answer is left whole.

    Files are often sorted: the first rows would be of one kind. Of a long text in parts the first part is asked for.
    """
    rows = sorted(split.answers)
    if not rows or not count:
        return []
    taken = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [_question_of(split, rows[place]) for place in taken]


def _question_of(split: EncodedSplit, row: int) -> Question:
    tokens = split.tokens[split.offsets[row] : split.offsets[row + 1]].tolist()
    first, stop = split.answers[row]
    expected, asked = split.expected.get(row, ()), split.asked.get(row, "")
    return Question(split.row_ids[row], tokens[:first], tokens[first:stop], expected, asked)


def encode_questions(questions: Sequence[Question]) -> EncodedSplit:
    """Return the questions, at least one, as rows of which nothing but the wanted answer carries loss."""
    rows = [[*question.prompt, *question.reference] for question in questions]
    targets = [[IGNORED] * (len(question.prompt) - 1) + [*question.reference, IGNORED] for question in questions]
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return EncodedSplit(
        row_ids=[question.row_id for question in questions],
        tokens=np.concatenate(rows).astype(np.int32),
        offsets=offsets,
        type_ids=None,
        targets=np.concatenate(targets).astype(np.int32),
        truncated=np.zeros(len(rows), dtype=np.bool_),
        targets_per_token=True,
    )
