"""Does an answer hold what was expected of it? By what is written there: whole words and whole numbers.

It finds a right answer, not a wrong one beside it ("at 9:30 or at 10"), and what is expected may stand there by
accident: the figure is read together with the answers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

_HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff"
_BLANK_BESIDE_HAN = re.compile(rf"(?<=[{_HAN}])\s+|\s+(?=[{_HAN}])")
#: Apostrophes and hyphens that look alike, as the ones of the keyboard.
_MARKS = str.maketrans({"\u2018": "'", "\u2019": "'", "\u2010": "-", "\u2011": "-"})
#: Thai, Lao, Myanmar, Khmer, kana, Han, Hangul: scripts that put no blank around each word.
_WITHOUT_BLANKS = re.compile(rf"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff{_HAN}\uac00-\ud7a3]")
_HAN_NUMERALS = frozenset("〇零一二三四五六七八九十百千万萬亿億兩两廿")
#: What makes a longer number of the digits before it, as in "3 萬".
_HAN_MULTIPLES = frozenset("千万萬亿億")
#: The numeral behind one of these is a day of the week and ends there: "星期三十點" is Wednesday at ten.
_WEEK = frozenset("期周週拜")


def plain(text: str) -> str:
    """Return a text as it is compared: without differences of width, letter case, blanks and typographic marks.

    Unicode's NFKC, case folded; apostrophes and hyphens as on the keyboard; every run of blanks and line ends is one
    blank, beside Han characters none. A full-width comma behind a half-width digit stays apart from the next number.
    """
    text = re.sub("(?<=[0-9])\uff0c", ", ", text)
    text = unicodedata.normalize("NFKC", text).translate(_MARKS).casefold()
    return re.sub(r"\s+", " ", _BLANK_BESIDE_HAN.sub("", text)).strip()


def holds(answer: str, expected: Sequence[str]) -> bool:
    """Say whether one of the expected texts stands in an answer, both `plain`, as whole words and whole numbers.

    `70` stands neither in `170` nor in `2.70`, `ten` not in `often`, `十分鐘` not in `二十分鐘`. Texts of scripts that
    put no blanks between words, such as Chinese, may stand within others. Of no expected text none stands anywhere:
    whoever counts leaves answers out of which nothing is expected. Raises ValueError for an expected text that is
    blank, which every answer would hold, and TypeError for a single text in the place of several.
    """
    if isinstance(expected, str):
        raise TypeError(f"expected texts are a sequence of texts, not one text: {expected!r}")
    keys = [plain(key) for key in expected]
    if "" in keys:
        raise ValueError(f"an expected text is blank: {list(expected)!r}")
    text = plain(answer)
    return any(
        _separates(text, start) and _separates(text, start + len(key)) for key in keys for start in _places(text, key)
    )


def _places(text: str, key: str) -> Iterator[int]:
    """Yield every position at which a key begins, overlapping ones too."""
    start = text.find(key)
    while start >= 0:
        yield start
        start = text.find(key, start + 1)


def _separates(text: str, at: int) -> bool:
    """Say whether a cut before position `at` of a plain text goes through no word and no number."""
    before, left, right, after = (text[max(at + step, 0) : max(at + step + 1, 0)] for step in (-2, -1, 0, 1))
    if not left or not right:
        return True
    if (before.isdecimal() and left in ".,:" and right.isdecimal()) or (
        left.isdecimal() and right in ".,:" and after.isdecimal()
    ):
        return False
    if left in _HAN_NUMERALS and right in _HAN_NUMERALS:
        return before in _WEEK
    if left.isdecimal() and right in _HAN_MULTIPLES:
        return False
    return not (_is_of_a_spaced_word(left) and _is_of_a_spaced_word(right))


def _is_of_a_spaced_word(character: str) -> bool:
    """Say whether a character is a digit, or a letter or its accent, of a script with blanks between words."""
    return unicodedata.category(character)[0] in "LMN" and _WITHOUT_BLANKS.match(character) is None
