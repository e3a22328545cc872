"""Names of the encodings of texts: those that are offered; Python knows more, and all of them are taken."""

from __future__ import annotations

#: What files of texts are written in, by script.
TEXT_ENCODINGS = (
    *("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"),
    *("big5", "cp950", "big5hkscs", "gb18030", "gbk", "gb2312", "hz"),
    *("shift_jis", "cp932", "euc_jp", "iso2022_jp", "euc_kr", "cp949", "johab"),
    *("cp1252", "latin-1", "iso8859-15", "mac_roman", "cp437", "cp850"),
    *("cp1250", "iso8859-2", "cp852", "cp1257", "iso8859-13", "cp1254", "iso8859-9"),
    *("cp1251", "koi8-r", "koi8-u", "cp866", "iso8859-5", "cp1253", "iso8859-7"),
    *("cp1255", "iso8859-8", "cp1256", "iso8859-6", "cp874", "tis-620", "cp1258"),
)


def require_encoding(name: str) -> str:
    """Return the name of an encoding of texts that Python knows. Raises ValueError."""
    try:
        "a".encode(name)
    except (LookupError, ValueError):
        raise ValueError(f"Python knows no encoding of texts called {name!r}") from None
    return name
