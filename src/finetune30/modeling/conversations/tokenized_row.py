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
    `text` of which the beginning may be left out where the row is too long.
    """

    ids: list[int]
    kinds: NDArray[np.int8]
    text: str
    places: list[tuple[int, int]]
    question: Span | None = None


@dataclass(frozen=True)
class FittedRow:
    """A row as it is trained: tokens within `max_length`, and how many tokens were cut by kind.

    `aside` is the reason why it is not used at all; the other counts are those of a `Rendering`.
    """

    tokens: TokenizedRow
    cut: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(TOKEN_KINDS), dtype=np.int64))
    aside: Aside | None = None
    dropped_characters: int = 0
    unlike_asked: int = 0
    left_out: int = 0


def count_kinds(kinds: NDArray[np.int8]) -> NDArray[np.int64]:
    """Return how many tokens there are of each kind, int64 (kinds,)."""
    return np.bincount(kinds, minlength=len(TOKEN_KINDS)).astype(np.int64)


def take_slice(row: TokenizedRow, start: int, stop: int) -> TokenizedRow:
    """Return the tokens from `start` to `stop`."""
    return TokenizedRow(row.ids[start:stop], row.kinds[start:stop], row.text, row.places[start:stop], row.question)


def take_part(row: TokenizedRow, start: int, stop: int) -> TokenizedRow:
    """Return the tokens from `start` to `stop`; nothing stands before the first of them that could predict it."""
    part = take_slice(row, start, stop)
    kinds = part.kinds.copy()
    kinds[0] = CONTEXT
    return replace(part, kinds=kinds)


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
    return replace(row, ids=[row.ids[i] for i in kept], kinds=row.kinds[kept], places=[row.places[i] for i in kept])
