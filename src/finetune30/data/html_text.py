"""HTML in texts: which rows have it, and the text without it."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

#: Tags that separate words; the others (b, i, a, span …) may stand within one.
_BLOCK_TAGS = (
    "address|article|aside|blockquote|body|br|button|center|dd|details|div|dl|dt|fieldset|figcaption|figure|footer|"
    "form|frame|h[1-6]|head|header|hr|html|iframe|img|input|legend|li|link|main|meta|nav|noscript|ol|option|p|pre|"
    "section|select|source|svg|table|tbody|td|textarea|tfoot|th|thead|title|tr|ul|video|audio"
)
_INLINE_TAGS = "a|abbr|b|big|cite|code|del|em|font|i|ins|kbd|label|mark|q|s|small|span|strike|strong|sub|sup|tt|u|var"
_BLOCK = rf"</?(?:{_BLOCK_TAGS})(?:\s[^<>]*)?/?>"
_INLINE = rf"</?(?:{_INLINE_TAGS})(?:\s[^<>]*)?/?>"
_HIDDEN = r"<script\b[^<>]*>.*?</script\s*>|<style\b[^<>]*>.*?</style\s*>|</?(?:script|style)\b[^<>]*>|<!--.*?-->"
_ENTITY = (
    r"&(?:amp|lt|gt|quot|apos|nbsp|hellip|mdash|ndash|rsquo|lsquo|rdquo|ldquo|copy|eacute|egrave|"
    r"#\d{2,6}|#x[0-9a-f]{2,5});"
)
#: What counts as HTML; known tag names only, so that `x <y and z> w` is left alone.
HTML_PATTERN = rf"(?is){_HIDDEN}|{_BLOCK}|{_INLINE}|{_ENTITY}"

_hidden, _block = re.compile(_HIDDEN, re.I | re.S), re.compile(_BLOCK, re.I | re.S)
_inline, _entity = re.compile(_INLINE, re.I | re.S), re.compile(_ENTITY, re.I)
_spaces = re.compile(r"[ \t\u00a0]+")


def contains_html(texts: pl.Series) -> pl.Series:
    """Return a Boolean series: the text holds a known tag, a comment or an entity (null: False)."""
    maybe = texts.str.contains("[<&]").fill_null(value=False)
    return maybe & texts.str.contains(HTML_PATTERN).fill_null(value=False)


def strip_html(text: str) -> str:
    """Return the text without tags, comments and scripts, entities unescaped; applying it again changes nothing."""
    while True:
        bare = _inline.sub("", _block.sub(" ", _hidden.sub(" ", text)))
        bare = _entity.sub(lambda match: html.unescape(match[0]), bare)
        if bare == text:
            return text
        text = _spaces.sub(" ", bare).strip()
