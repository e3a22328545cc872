"""One row as it is trained, piece by piece: what carries loss, what is read, what the template writes, what is cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune30.modeling.conversations.tokenized_row import TOKEN_KINDS, TRUNCATED, TokenizedRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from finetune30.data.encoding import Aside
    from finetune30.modeling.conversations.encoder import ConversationEncoder


@dataclass(frozen=True)
class Piece:
    """Tokens of one kind that stand beside each other: `kind` (one of TOKEN_KINDS), their text, and their ids."""

    kind: str
    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class ShownRow:
    """A row in pieces. `counts`: tokens by kind, as in the token ledger. `aside`: why it is not used at all.

    `dropped_characters`: those of its messages that the template leaves out. `unlike_asked`: answers without loss, as
    they would be asked behind another text than stands before them.
    """

    pieces: tuple[Piece, ...]
    counts: dict[str, int]
    aside: Aside | None
    dropped_characters: int = 0
    unlike_asked: int = 0


def show_row(encoder: ConversationEncoder, row: Mapping[str, Any], max_length: int) -> ShownRow:
    """Return a row of the canonical form in pieces, in the order in which they stand.

    Parts of a long text follow each other. What is cut stands where it was. Where the template writes the rest of a
    shortened conversation otherwise, it stands in front, as far as it can be told apart.
    """
    parts = encoder.fit_parts(row, max_length)
    if len(parts) > 1:
        return _show_parts(encoder, [part.tokens for part in parts])
    (fitted,) = parts
    kept = fitted.tokens
    counts = {kind: int((kept.kinds == place).sum()) for place, kind in enumerate(TOKEN_KINDS)}
    counts["truncated"] = int(fitted.cut.sum())
    shown = kept
    if fitted.cut.any() and (whole := encoder.tokenize(row)).text != "":
        shown = _mark_cut(whole, kept)
    said = fitted.aside, fitted.dropped_characters, fitted.unlike_asked
    return ShownRow(_cut_up(encoder, shown), counts, *said)


def _show_parts(encoder: ConversationEncoder, parts: list[TokenizedRow]) -> ShownRow:
    kinds = np.concatenate([part.kinds for part in parts])
    counts = {kind: int((kinds == place).sum()) for place, kind in enumerate(TOKEN_KINDS)}
    return ShownRow(tuple(piece for part in parts for piece in _cut_up(encoder, part)), counts, None)


def _mark_cut(whole: TokenizedRow, kept: TokenizedRow) -> TokenizedRow:
    """Return the whole row, with what is not kept as cut: of a shortened row a beginning and an end are left."""
    total, left = len(whole.ids), len(kept.ids)
    ending = _common(whole.ids[::-1], kept.ids[::-1])
    beginning = min(_common(whole.ids, kept.ids), left - min(ending, left))
    kinds: NDArray[np.int8] = np.full(total, TRUNCATED, dtype=np.int8)
    kinds[:beginning] = kept.kinds[:beginning]
    rest = left - beginning
    if rest:
        kinds[total - rest :] = kept.kinds[beginning:]
    return TokenizedRow(whole.ids, kinds, whole.text, whole.places)


def _common(first: list[int], second: list[int]) -> int:
    pairs = zip(first, second, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def _cut_up(encoder: ConversationEncoder, row: TokenizedRow) -> tuple[Piece, ...]:
    borders = [0, *(np.flatnonzero(np.diff(row.kinds)) + 1).tolist(), len(row.ids)]
    pieces = []
    for start, stop in pairwise(borders):
        if start == stop:
            continue
        ids = row.ids[start:stop]
        first = row.places[start][0]
        last = row.places[stop][0] if stop < len(row.ids) else row.places[-1][1]
        text = row.text[first:last]
        if row.places[stop - 1][0] == row.places[stop - 1][1]:  # put there by the encoder, not by the template
            text += str(encoder.tokenizer.decode([ids[-1]]))
        pieces.append(Piece(TOKEN_KINDS[int(row.kinds[start])], text, tuple(ids)))
    return tuple(pieces)
