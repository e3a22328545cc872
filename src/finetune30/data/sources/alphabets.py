"""Does a decoded text look like writing in a script of few letters? Told by its most frequent letters.

Bytes of one encoding decode in another one too, but then into letters that no language puts side by side: of a language
in Latin letters nearly all letters outside of ASCII must be its own, and its most frequent ones must occur.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from finetune30.data.sources.characters import FEW, has_odd_marks, is_mark, stand_in_words

#: Letters outside of ASCII of languages of Central Europe, most frequent first.
_CENTRAL = (
    "íáěéřšžýčůúňťóďö",  # Czech
    "áíéčúľžšýôťňóäďĺŕ",  # Slovak
    "łąęóżśćńźé",  # Polish
    "áéöóőíüúű",  # Hungarian
    "ăîâşţșțé",  # Romanian
    "čšžćđé",  # Croatian, Bosnian, Serbian in Latin letters; Slovene without the last ones
)
_TURKISH = ("ıüşçğöâîû",)
#: How many of its four most frequent letters a text of a language must have.
_LEAST_FREQUENT = 3
_NEARLY_ALL = 0.97
_LEAST_LETTERS = 6
_GREEK = frozenset("αοιετσνηυρπκμλςόίάήέ")
_HEBREW = frozenset("יוהלאתרבמשנדםע")
_ARABIC = frozenset("اليمونتربةعدسفهكحق")
_THAI = frozenset("านรอกเงมยลวดทสตปบคหแจะ\u0e31\u0e34\u0e35\u0e37\u0e48\u0e49\u0e4c")
_THAI_ABOVE = "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
_THAI_LETTER, _THAI_VOWEL = re.compile("[\u0e01-\u0e4e]"), re.compile("[\u0e30-\u0e3a\u0e40-\u0e4e]")
#: A mark without a consonant below it, a vowel of word beginnings without one behind it, a word of two scripts, and the
#: two consonants that nobody writes any more.
_ODD_THAI = re.compile(
    rf"(?:^|[^\u0e01-\u0e2e{_THAI_ABOVE}])[{_THAI_ABOVE}]|[\u0e40-\u0e44](?![\u0e01-\u0e2e])"
    r"|[a-zA-Z@\[\\^_`{|}~][\u0e01-\u0e4e]|[\u0e01-\u0e4e][a-zA-Z@\[\\^_`{|}~]|[\u0e03\u0e05]"
)
#: The Greek s of word ends before another letter, a capital letter behind a small one, a word of two scripts.
_ODD_GREEK = re.compile(r"[Ά-Ώ]{3}|ς(?=[α-ώ])|[α-ώ][Ά-Ϋ]|[a-zA-Z][\u0370-\u03ff]|[\u0370-\u03ff][a-zA-Z]")
_MIXED_ARABIC = re.compile(r"[a-zA-Zà-ÿ][\u0621-\u06ff]|[\u0621-\u06ff][a-zA-Zà-ÿ]")
_MIXED_HEBREW = re.compile(r"[a-zA-Z][\u05d0-\u05ea]|[\u05d0-\u05ea][a-zA-Z]")
#: Forms that Hebrew letters have at the end of a word alone, before another letter.
_ODD_HEBREW = re.compile(r"[םןףץך](?=[\u05d0-\u05ea])")


def is_central_european(text: str) -> bool:
    """Say whether the characters of `text` outside of ASCII read as one language of Central Europe."""
    return _is_latin(text, _CENTRAL)


def is_turkish(text: str) -> bool:
    """Say whether they read as Turkish."""
    return _is_latin(text, _TURKISH)


def is_greek(text: str) -> bool:
    """Say whether they read as Greek."""
    return _is_script(text, "\u0370", "\u03ff", _GREEK, 0.75) and _rare(_ODD_GREEK, text)


def is_hebrew(text: str) -> bool:
    """Say whether they read as Hebrew."""
    is_written = _is_script(text, "\u05d0", "\u05ea", _HEBREW, 0.6)
    return is_written and _rare(_MIXED_HEBREW, text) and _rare(_ODD_HEBREW, text)


def is_arabic(text: str) -> bool:
    """Say whether they read as Arabic or Persian."""
    return _is_script(text, "\u060c", "\u06ff", _ARABIC, 0.6) and _rare(_MIXED_ARABIC, text)


def is_thai(text: str) -> bool:
    """Say whether they read as Thai: its frequent letters, marks above letters, vowels before consonants."""
    letters, vowels = len(_THAI_LETTER.findall(text)), len(_THAI_VOWEL.findall(text))
    is_written = _is_script(text, "\u0e01", "\u0e4e", _THAI, 0.75) and 5 * vowels >= letters
    return is_written and _rare(_ODD_THAI, text)


def _is_latin(text: str, languages: Sequence[str]) -> bool:
    outside = [character for character in text if character > "\x7f" and not is_mark(character)]
    counts = Counter(character.lower() for character in outside)
    total = counts.total()
    if not total or has_odd_marks(text) or not all(letter.isalpha() for letter in counts):
        return False
    if not stand_in_words(outside, text):
        return False
    for letters in languages:
        frequent = total < FEW or sum(letter in counts for letter in letters[:4]) >= _LEAST_FREQUENT
        if frequent and sum(counts[letter] for letter in letters) >= _NEARLY_ALL * total:
            return True
    return False


def _is_script(text: str, first: str, last: str, frequent: frozenset[str], share: float) -> bool:
    outside = [character for character in text if character > "\x7f"]
    letters = [character.lower() for character in outside if first <= character <= last]
    if not letters or len(letters) < 0.9 * len(outside):
        return False
    if len(outside) < FEW:
        return True
    return len({*letters}) >= _LEAST_LETTERS and sum(letter in frequent for letter in letters) >= share * len(letters)


def _rare(odd: re.Pattern[str], text: str) -> bool:
    return len(odd.findall(text)) <= 0.02 * sum(character > "\x7f" for character in text)
