"""Rows to token ids: flat arrays with offsets, so that a million rows cost a few arrays and no objects."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from finetune30.data.texts import is_blank, texts_and_pairs

if TYPE_CHECKING:
    import polars as pl

#: Rules under which rows of conversations are set aside once they are tokens.
OVERLONG, NO_ANSWER_LEFT, TEMPLATE_REFUSES = "overlong", "no_answer_left", "template_refuses"
#: The target of a token of which nothing is asked; PyTorch's losses leave it out.
IGNORED = -100
_ROWS_PER_CALL = 4096


@dataclass(frozen=True)
class EncodedTexts:
    """Token ids of some texts: `ids[i]` and `type_ids[i]` have equal length; `full_lengths` is before truncation.

    `unknown_tokens` is how many of all ids stand for text that the tokenizer has no token for. `own_tokens[i]` is how
    many ids, before truncation, come from the text itself and not from the tokenizer's frame; of a pair, from the text
    that gives less. `marked_texts`: how many texts hold a special token that the tokenizer cannot read as text.
    """

    ids: list[list[int]]
    type_ids: list[list[int]] | None
    full_lengths: list[int]
    unknown_tokens: int
    own_tokens: list[int]
    marked_texts: int = 0


@dataclass(frozen=True)
class TokenCounts:
    """How many tokens some texts (or pairs) have before truncation.

    Positions of those that say nothing (`tokenless`), and of those that are never cut but come in parts (`in_parts`).
    `aside`: positions of those that a training does not use as they are, with the reason. `overlong`: what becomes of
    conversations that are too long (`chat.overlong`); None: other texts, which are cut at their end.
    """

    lengths: list[int]
    tokenless: list[int] = field(default_factory=list)
    in_parts: list[int] = field(default_factory=list)
    aside: Mapping[int, Aside] = field(default_factory=dict)
    overlong: str | None = None


#: Counts tokens of texts, or of pairs of texts.
CountTokens = Callable[[list[str], list[str] | None], TokenCounts]


class TextEncoder(Protocol):
    """A tokenizer, seen from the data room."""

    def encode(self, texts: list[str], pairs: list[str] | None, max_length: int) -> EncodedTexts:
        """Encode texts (or pairs) with special tokens, truncated to `max_length` tokens."""
        ...


@dataclass(frozen=True)
class Aside:
    """Why an encoded row is not used: the rule, what to do, and whether the configuration chose it (no fault then)."""

    rule: str
    fix: str
    is_chosen: bool = False


@dataclass(frozen=True)
class EncodedSplit:
    """One split, ready for batching: a row each, or parts of a row behind each other, all under its id.

    Shapes: tokens int32 (total tokens,), offsets int64 (n + 1,), type_ids int8 like tokens or None, truncated bool
    (n,). Targets are one a row, (n,) or (n, k) of what the problem asks, or one a token: int32 like tokens, IGNORED
    where nothing is asked. `unknown_tokens`: how many of the tokens stand for text that the tokenizer has no token for.
    `tokenless`: positions of the rows of which a text gives no token of its own, with the number of all their tokens.
    `marked_texts`: texts that hold a special token which the tokenizer cannot read as text. `aside`: positions of rows
    that cannot be used as they are encoded, with the reason. `token_counts`: what the tokens of each row are, by name,
    int64 (n,) each; empty where no token is more than another. `expected`: texts of which a row's answer has to hold
    one, by position, where the row says so. `asked`: what the last answer of a row answers, by position, without the
    marks of a template, where there is such an answer. `answers`: which of a row's own tokens (first, stop) are its
    last answer, by position, where it is left whole and something stands before it; of a text, or its first part, all
    but the beginning. `asked_with`: the options that a row's last answer is asked with, by position, as JSON, where a
    template has several.
    """

    row_ids: list[str]
    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    type_ids: NDArray[np.int8] | None
    targets: NDArray[Any]
    truncated: NDArray[np.bool_]
    targets_per_token: bool = False
    unknown_tokens: int = 0
    tokenless: Mapping[int, int] = field(default_factory=dict)
    marked_texts: int = 0
    aside: Mapping[int, Aside] = field(default_factory=dict)
    token_counts: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    expected: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    asked: Mapping[int, str] = field(default_factory=dict)
    answers: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    asked_with: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.row_ids)

    @property
    def row_count(self) -> int:
        """How many rows it is made of: parts of one row stand behind each other under its name."""
        return sum(1 for _ in groupby(self.row_ids))

    @property
    def digest(self) -> str:
        """sha256 of the token ids, where rows end, and what is asked of them."""
        found = hashlib.sha256()
        for array in (self.tokens, self.offsets, self.targets):
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens in each row, int64 (n,)."""
        return np.diff(self.offsets)


def encode_split(frame: pl.DataFrame, encoder: TextEncoder, max_length: int, targets: NDArray[Any]) -> EncodedSplit:
    """Encode the first text of a prepared split, or the first two as a pair; `targets` are one a row."""
    texts, pairs = texts_and_pairs(frame)
    tokens: list[NDArray[np.int32]] = []
    types: list[NDArray[np.int8]] = []
    lengths: list[int] = []
    full: list[int] = []
    tokenless: dict[int, int] = {}
    unknown = marked = 0
    for start in range(0, len(texts), _ROWS_PER_CALL):
        stop = start + _ROWS_PER_CALL
        part = encoder.encode(texts[start:stop], pairs[start:stop] if pairs else None, max_length)
        lengths += [len(ids) for ids in part.ids]
        full += part.full_lengths
        unknown += part.unknown_tokens
        marked += part.marked_texts
        nothing = find_tokenless(part, texts[start:stop], pairs[start:stop] if pairs else None)
        tokenless |= {start + i: part.full_lengths[i] for i in nothing}
        tokens.append(np.fromiter((t for ids in part.ids for t in ids), dtype=np.int32))
        if part.type_ids is not None:
            types.append(np.fromiter((t for ids in part.type_ids for t in ids), dtype=np.int8))
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(np.asarray(lengths, dtype=np.int64), out=offsets[1:])
    return EncodedSplit(
        row_ids=frame["row_id"].to_list(),
        tokens=np.concatenate(tokens) if tokens else np.zeros(0, dtype=np.int32),
        offsets=offsets,
        type_ids=np.concatenate(types) if types else None,
        targets=targets,
        truncated=np.asarray(full, dtype=np.int64) > np.asarray(lengths, dtype=np.int64),
        unknown_tokens=unknown,
        tokenless=tokenless,
        marked_texts=marked,
    )


def find_tokenless(encoded: EncodedTexts, texts: Sequence[str], pairs: Sequence[str] | None) -> list[int]:
    """Return the positions of texts (or pairs) that say nothing to a model.

    Those give no token of their own, or have nothing in them that can be seen: byte-level tokenizers have tokens for
    spaces and zero-width characters too.
    """
    blank = {i for i, text in enumerate(texts) if is_blank(text)}
    blank |= {i for i, text in enumerate(pairs or ()) if is_blank(text)}
    return [i for i, own in enumerate(encoded.own_tokens) if own == 0 or i in blank]
