"""A row of conversations as token ids, what each token is, and pieces of such a row."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from finetune30.data.encoding import Aside
    from finetune30.modeling.conversations.placing import Span

#: Names of the token ledger, in the order in which it is shown.
TOKEN_KINDS = ("supervised", "context", "template", "truncated")
SUPERVISED, CONTEXT, TEMPLATE, TRUNCATED = range(len(TOKEN_KINDS))


@dataclass(frozen=True)
class TokenizedRow:
    """A row as tokens. `ids` int; `kinds`: index into TOKEN_KINDS for each; both of equal length.

    `text` and `places` (start, stop of each token's characters in it) are for showing it. `question`: the characters of
    `text` of which the beginning may be left out where the row is too long. `answer`: which of the tokens (first, stop)
    are the last answer with its end; None where none stands whole behind something that asks for it.
    """

    ids: list[int]
    kinds: NDArray[np.int8]
    text: str
    places: list[tuple[int, int]]
    question: Span | None = None
    answer: tuple[int, int] | None = None


@dataclass(frozen=True)
class FittedRow:
    """A row as it is trained: tokens within `max_length`, and how many tokens were cut by kind.

    `aside` is the reason why it is not used at all; the other counts are those of a `Rendering`. `asked_with`: the
    options of a template with several that its last answer is asked with, as JSON.
    """

    tokens: TokenizedRow
    cut: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(TOKEN_KINDS), dtype=np.int64))
    aside: Aside | None = None
    dropped_characters: int = 0
    unlike_asked: int = 0
    left_out: int = 0
    asked_with: str | None = None


def count_kinds(kinds: NDArray[np.int8]) -> NDArray[np.int64]:
    """Return how many tokens there are of each kind, int64 (kinds,)."""
    return np.bincount(kinds, minlength=len(TOKEN_KINDS)).astype(np.int64)


def take_slice(row: TokenizedRow, start: int, stop: int) -> TokenizedRow:
    """Return the tokens from `start` to `stop`."""
    first, last = row.answer or (0, 0)
    answer = behind_something(first - start, last - start) if last <= stop else None
    kinds, places = row.kinds[start:stop], row.places[start:stop]
    return TokenizedRow(row.ids[start:stop], kinds, row.text, places, row.question, answer)


def take_part(row: TokenizedRow, start: int, stop: int) -> TokenizedRow:
    """Return a part of a long text; nothing stands before its first token that could predict it.

    Only the first part is gone on with, as the row that they are parts of.
    """
    part = take_slice(row, start, stop)
    kinds = part.kinds.copy()
    kinds[0] = CONTEXT
    answer = behind_something(row.answer[0], stop) if row.answer is not None and start == 0 else None
    return replace(part, kinds=kinds, answer=answer)


def behind_something(first: int, stop: int) -> tuple[int, int] | None:
    """Return the place of an answer less a token before which nothing stands; None where nothing is left of it."""
    first = max(1, first)
    return (first, stop) if first < stop else None


def cut_question(row: TokenizedRow, max_length: int) -> TokenizedRow | None:
    """Leave out the beginning of the question, by whole characters, until the row fits; None where none would be left.

    All before the question stays: the opening, the system message, and the template's own words.
    """
    if row.question is None:
        return None
    inside = [
        place
        for place, (start, stop) in enumerate(row.places)
        if row.question.start <= start < stop <= row.question.stop and row.kinds[place] == CONTEXT
    ]
    over = len(row.ids) - max_length
    first, last = (inside[0], inside[-1] + 1) if inside else (0, 0)
    place = first + over
    while first < place < last and row.places[place][0] < row.places[place - 1][1]:  # inside of a character
        place += 1
    if place >= last:
        return None
    kept = [*range(first), *range(place, len(row.ids))]
    ids, places = [row.ids[i] for i in kept], [row.places[i] for i in kept]
    answer = None if row.answer is None else behind_something(*(end - (place - first) for end in row.answer))
    return replace(row, ids=ids, kinds=row.kinds[kept], places=places, answer=answer)
