"""Does a decoded text look like writing? Shares of the characters that real texts of a script are full of.

Bytes of one encoding often decode in another one too, but then into characters that hardly anybody writes. The lists
are the most frequent characters of each script; real texts hold them at 40 % and more, wrongly decoded ones at 5 %.
"""

from __future__ import annotations

import re
from collections.abc import Collection

#: Characters both ways of writing Chinese share, then those of the simplified and of the traditional one.
_CHINESE = (
    "的一是不了在人有我他中上大和地到以要就出也你生能而子那得下自之年作用道行所然家事成方多去法如都同起看定天分好小部其些主心她本前但因只想日"
    "者意力它把十民第公此已工使情明性知全三又正外高由很最重物手向文政美相被利什二等或新己制身果加西月合回特代信表化老位次度任常先海通教原提立及比"
    "解水名真走各入口平活更打女四神何安少才反受目太量再感建做接必件管期市直德命山金指求保至形社便空治司五基眼非白界光放像且思王象完式色路南品住告"
    "程北死交格望共清今切候引房服店吃喝快慢喜吧啊呢您菜味早髒乾推送"
)
_SIMPLIFIED = (
    "这个们来为国说时会对于着过发后里种经么学现当没动还进样开从实军无与长机关点业将两间问并应战头体见产话给门儿东声员论处义几认条系气题尔别变总"
    "电数报结务场计资许统区队决马书则听却达强难权设记类据边张该规万觉术领确传师观让识带导争运价钱买卖坏爱欢谢请吗脏干净荐馆餐质"
)
_TRADITIONAL = (
    "這個們來為國說時會對於著過發後裡種經麼學現當沒動還進樣開從實軍無與長機關點業將兩間問並應戰頭體見產話給門兒東聲員論處義幾認條係氣題爾別變總"
    "電數報結務場計資許統區隊決馬書則聽卻達強難權設記類據邊張該規萬覺術領確傳師觀讓識帶導爭運價錢買賣壞愛歡謝請嗎髒乾淨薦館餐質"
)
_KANJI = (
    "日一国会人年大十二本中長出三同時政事自行社見月分議後前民生連五発間対上部東者党地合市業内相方四定今回新場金員九入選立開手米力学問高代明実"
    "円関決子動京全目表戦経通外最言氏現理調体化田当八六約主題下首意法不来作性的要用制治度務強気小七成期公野協取都和統以機平総加山思家話世受区領多"
    "県続進正安設保改数記院女初北午指権心界支第産結百派点教報済書府活原先共得解名交資予川向際査勝面委告軍文反元重近千考判認画海参売利組知案道信策"
    "集在件団別物側任引使求所次水半品昨論計死官増係感特情投示変打男基私各始島直両朝革価式確村提運終挙果西勢減台広容必応演電歳住争談能無再位置"
)
_HANGUL = (
    "이다는에의가을고하지기사은한로들리를나자어인도아시그서대니정라으해있게보수부일것안제여원주상과장성전무면만내스마적구거모오했되와중년소없세조우공"
    "선국물습좋음요네너재별비미진화친생동경요했던데"
)
_CYRILLIC = "оеаинтсрвлкмдпу"
#: Letters outside of ASCII that Western languages write, one language at a time: texts in the wrong alphabet (Czech or
#: Turkish bytes, say) decode into letters of several.
_WESTERN = (
    "àâæçèéêëîïôœùûüÿ",  # French
    "äöüßéà",  # German
    "áéíñóúüçºª",  # Spanish
    "áâãàçéêíóôõúüºª",  # Portuguese
    "àèéìíîòóùú",  # Italian
    "àçèéíïòóúü",  # Catalan
    "æøåéòôê",  # Danish and Norwegian
    "åäöéšž",  # Swedish and Finnish
    "õäöüšž",  # Estonian
    "áéíóúýþæöð",  # Icelandic
    "éèëïöüáóíê",  # Dutch
)
_WESTERN_MARKS = frozenset("’‘‚“”„«»‹›–—…€£¥¢°©®™•§½¼¾×÷¿¡ªº²³·´±µ¶\xa0\xad")
#: A mark inside of a word that texts do not put there, and a capital letter inside of one.
_ODD_MARK = re.compile(r"[a-zà-ÿ][^\w\s’‘–—·…\-\x00-\x7f][a-zà-ÿ]|[a-zà-ÿ][²³¹ºª¼½¾µ][a-zà-ÿ]")
_ODD_CAPITAL = re.compile(r"[a-z][À-ÖØ-ÞŠŒŽŸ]")
#: A word of two scripts.
_MIXED_WORD = re.compile(r"[a-zA-Z][\u0400-\u04ff]|[\u0400-\u04ff][a-zA-Z]")
#: What stands in the places of capital letters and я where Macintosh's encoding is read as Windows'.
_ODD_CYRILLIC = re.compile(r"[а-яё][А-ЯЁ]|[ЂЃЉЊЌЋЏђѓљњќћџ]|[”‚†‡€‰‹•™…](?=[а-яё])")
#: Characters below which a text has no frequent letters yet: it may be in a language, which decides nothing then.
FEW = 20
_LEAST_SHARE = 0.3
_LEAST_LETTERS = 0.7
#: Letters of ASCII that stand beside each mark, where marks alone speak for an encoding.
_LEAST_PER_MARK = 3
_LEAST_CHINESE = 0.4
_LEAST_KANA = 0.3
_NEARLY_ALL = 0.97


def is_chinese(text: str) -> bool:
    """Say whether the characters of `text` outside of ASCII read as Chinese, in either way of writing."""
    return _share(_letters(text), _CHINESE_BOTH) >= _LEAST_CHINESE


def is_traditional_chinese(text: str) -> bool:
    """Say whether they read as traditional Chinese."""
    return _share(_letters(text), _CHINESE_TRADITIONAL) >= _LEAST_CHINESE


def is_japanese(text: str) -> bool:
    """Say whether they read as Japanese: a good part kana, none of them half as wide, and frequent kanji."""
    letters = _letters(text)
    kana = [letter for letter in letters if "\u3041" <= letter <= "\u30ff"]
    narrow = [letter for letter in letters if "\uff61" <= letter <= "\uff9f"]
    kanji = [letter for letter in letters if "\u4e00" <= letter <= "\u9fff"]
    if not letters or len(kana) < _LEAST_KANA * len(letters) or len(narrow) > 0.05 * len(letters):
        return False
    return len(kanji) < 5 or _share(kanji, _KANJI_SET) >= _LEAST_SHARE


def is_korean(text: str) -> bool:
    """Say whether they read as Korean."""
    letters = _letters(text)
    hangul = [letter for letter in letters if "\uac00" <= letter <= "\ud7a3"]
    return bool(letters) and len(hangul) >= 0.9 * len(letters) and _share(hangul, _HANGUL_SET) >= _LEAST_SHARE


def is_cyrillic(text: str) -> bool:
    """Say whether they read as Russian: Cyrillic words, most letters small, the frequent ones among them."""
    outside = [character for character in text if character > "\x7f"]
    cyrillic = [letter for letter in outside if "\u0400" <= letter <= "\u04ff"]
    small = [letter for letter in cyrillic if letter.islower()]
    if not outside or len(cyrillic) < 0.8 * len(outside) or len(small) < 0.6 * len(cyrillic):
        return False
    if len(_ODD_CYRILLIC.findall(text)) > 0.01 * len(cyrillic):
        return False
    if len(_MIXED_WORD.findall(text)) > 0.02 * len(cyrillic):
        return False
    is_frequent = _share(small, _CYRILLIC_SET) >= 0.7 and _share(small, _LAST_CYRILLIC) >= 0.01
    return is_frequent or len(outside) < FEW


def is_western(text: str) -> bool:
    """Say whether they read as one Western European language: its letters and the usual marks, where such stand."""
    outside = [character for character in text if character > "\x7f"]
    marks = [character for character in outside if character in _WESTERN_MARKS]
    letters = [character.lower() for character in outside if character not in _WESTERN_MARKS]
    if has_odd_marks(text) or any(not letter.isalpha() for letter in letters):
        return False
    if not stand_in_words([*letters, *_LEAST_PER_MARK * marks], text):
        return False
    adjacent = len(re.findall(r"[à-ÿ](?=[à-ÿ])", text.lower()))
    fits = not letters or max(_share(letters, frozenset(language)) for language in _WESTERN) >= _NEARLY_ALL
    apart = adjacent <= 0.2 * len(letters) or len(letters) < FEW  # a word such as refeição has two side by side
    return fits and apart and bool(marks or letters)


def is_mark(character: str) -> bool:
    """Say whether a character is a mark that texts in any Latin letters have, as quotation marks."""
    return character in _WESTERN_MARKS


def stand_in_words(letters: Collection[str], text: str) -> bool:
    """Say whether letters outside of ASCII are the fewer ones, as in every language here that Latin letters write."""
    return sum(character.isascii() and character.isalpha() for character in text) >= len(letters)


def has_odd_marks(text: str) -> bool:
    """Say whether marks and capital letters stand inside of words, as in texts that were decoded wrongly."""
    odd = len(_ODD_MARK.findall(text)) + len(_ODD_CAPITAL.findall(text))
    return odd > 0.05 * sum(character > "\x7f" for character in text)


def _letters(text: str) -> list[str]:
    """Return the letters outside of ASCII; none where more than three in ten characters are signs, as in no writing."""
    outside = [character for character in text if character > "\x7f"]
    letters = [character for character in outside if character.isalpha()]
    return letters if len(letters) >= _LEAST_LETTERS * len(outside) else []


def _share(characters: Collection[str], known: frozenset[str]) -> float:
    return sum(character in known for character in characters) / len(characters) if characters else 0.0


_CHINESE_BOTH = frozenset(_CHINESE + _SIMPLIFIED + _TRADITIONAL)
_CHINESE_TRADITIONAL = frozenset(_CHINESE + _TRADITIONAL)
#: Letters whose bytes mean nothing in Hebrew, whose others look like Cyrillic ones.
_LAST_CYRILLIC = frozenset("ыья")
_KANJI_SET, _HANGUL_SET, _CYRILLIC_SET = frozenset(_KANJI), frozenset(_HANGUL), frozenset(_CYRILLIC)
