"""Special tokens that stand in people's texts (`</s>`, `[SEP]`, `<|endoftext|>`): they are read as the text they are.

A tokenizer takes them for its own marks wherever they stand: a text that holds `</s>` would end there, one with
`[MASK]` would hold a gap. `tokenizers` can be told not to (`encode_special_tokens`); vocabularies whose model itself
finds the mark as a word of its own (Unigram of SentencePiece, words between spaces) are kept from it by a cut inside of
the mark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Texts in which a mark is tried, `{}`: alone, between spaces, and inside of a word.
_TRIED = ("{}", "a {} b", "a{}b")


def read_marks_as_text(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Change a tokenizer so that its special tokens are text where texts hold them; those that it adds stay.

    Returns the special tokens that are read as such all the same: there is no way to cut them.
    """
    tokenizer.encode_special_tokens = True
    marks = {token.content: number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    if found := marks_taken_for_tokens(marks, encode):
        _cut(tokenizer, found)
    return marks_taken_for_tokens({mark: marks[mark] for mark in found}, encode)


def marks_taken_for_tokens(marks: Mapping[str, int], encode: Callable[[str], list[int]]) -> tuple[str, ...]:
    """Return the special tokens (content -> id) that `encode` makes of a text which holds them.

    What it also makes of the letters one by one is no mark but a letter, or the token for what is not known.
    """
    taken = (mark for mark, number in marks.items() if any(number in encode(text.format(mark)) for text in _TRIED))
    return tuple(mark for mark in taken if marks[mark] not in encode(" ".join(mark)))


def count_texts_with(marks: Iterable[str], texts: Iterable[str]) -> int:
    """Return how many texts hold any of the marks."""
    known = tuple(marks)
    return sum(any(mark in text for mark in known) for text in texts) if known else 0


def _cut(tokenizer: Tokenizer, marks: Iterable[str]) -> None:
    """Let the tokenizer cut texts behind the first character of each mark, after whatever it cuts by itself."""
    from tokenizers import Regex, pre_tokenizers

    cuts = [
        pre_tokenizers.Split(Regex(f"{re.escape(mark[0])}(?={re.escape(mark[1:])})"), "isolated")
        for mark in marks
        if len(mark) > 1
    ]
    own = [] if tokenizer.pre_tokenizer is None else [tokenizer.pre_tokenizer]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*own, *cuts])
