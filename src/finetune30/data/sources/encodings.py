"""Text files that are not UTF-8: which encoding it is, when that can be known, and the byte that does not fit.

UTF-8 is tried first and costs nothing more. What is no UTF-8 is decoded strictly in every encoding below; the one whose
characters read as writing is used, and said, when it is the only one and enough characters speak for it. Else the file
is refused with what each encoding would make of it, and `data.encoding` decides.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from finetune30.data.sources import alphabets, characters
from finetune30.errors import DataFileError

T = TypeVar("T")

UTF8 = "utf-8-sig"
#: Characters outside of ASCII below which a file says too little about its encoding.
LEAST_EVIDENCE = characters.FEW
#: So many of them must stand in words that differ.
_LEAST_DISTINCT = 15
#: Bytes of lines with other than ASCII that are looked at to tell an encoding; all bytes must decode in it.
EVIDENCE_BYTES = 1_000_000
#: Bytes other than ASCII above which words that are written often may weigh more: below, each counts once.
_MANY_BYTES = 400
_SAMPLE_CHARACTERS = 30
#: Names that files are said to be in, and what they nearly always are: the vendor's superset, as browsers take it.
_SUPERSETS = {
    "ascii": UTF8,
    "utf-8": UTF8,
    "big5": "cp950",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}


@dataclass(frozen=True)
class Encoding:
    """An encoding that is recognised: its name in Python, what is written in it, and how such a text is told."""

    codec: str
    described: str
    reads: Callable[[str], bool]


ENCODINGS = (
    Encoding("cp950", "Big5, traditional Chinese", characters.is_traditional_chinese),
    Encoding("gb18030", "GB18030 or GBK, Chinese", characters.is_chinese),
    Encoding("cp932", "Shift_JIS, Japanese", characters.is_japanese),
    Encoding("euc_jp", "EUC-JP, Japanese", characters.is_japanese),
    Encoding("cp949", "EUC-KR, Korean", characters.is_korean),
    Encoding("cp1251", "Windows, Cyrillic", characters.is_cyrillic),
    Encoding("koi8_r", "KOI8-R, Cyrillic", characters.is_cyrillic),
    Encoding("cp1252", "Windows or Latin-1, Western European", characters.is_western),
    Encoding("cp1250", "Windows, Central European", alphabets.is_central_european),
    Encoding("iso8859_2", "Latin-2, Central European", alphabets.is_central_european),
    Encoding("cp1254", "Windows or Latin-5, Turkish", alphabets.is_turkish),
    Encoding("cp1253", "Windows, Greek", alphabets.is_greek),
    Encoding("cp1255", "Windows, Hebrew", alphabets.is_hebrew),
    Encoding("cp1256", "Windows, Arabic", alphabets.is_arabic),
    Encoding("cp874", "Windows or TIS-620, Thai", alphabets.is_thai),
    Encoding("mac_roman", "Macintosh, Western European", characters.is_western),
)


def read_decoded(path: Path, name: str, given: str | None, read: Callable[[str], T]) -> tuple[T, str, tuple[str, ...]]:
    """Call `read` with the codec of a text file; return what it returned, the codec, and what to say about it.

    `given` is what the configuration names: nothing else is tried then. Raises DataFileError for a byte that does not
    decode in it, and for a file that is no UTF-8 and may be several things or none.
    """
    marked = wide_encoding(path)
    if given is not None:
        codec = codec_of(given)
        if codec.startswith("utf-16"):  # the mark, where there is one, says which half of a character comes first
            codec = marked or ("utf-16-le" if codec == "utf-16" else codec)
        return _read_strictly(path, name, codec, read), codec, () if codec == UTF8 else (f"read as {given}, as named",)
    if marked is not None:
        note = f"read as {marked.upper()}, told from its first bytes; the first line: {_first_line(path, marked)!r}"
        return _read_strictly(path, name, marked, read), marked, (note,)
    try:
        return read(UTF8), UTF8, ()
    except UnicodeDecodeError:
        found = detect_encoding(path, name)
    line = _first_faulty(path)[2]
    note = f"read as {found.codec} ({found.described}), told from its characters: {_sample(line, found.codec)!r}"
    return _read_strictly(path, name, found.codec, read), found.codec, (note,)


def codec_of(given: str) -> str:
    """Return the codec for the name of an encoding; the supersets that vendors made stand for what they extend."""
    name = codecs.lookup(given).name
    return _SUPERSETS.get(name, name)


def wide_encoding(path: Path) -> str | None:
    """Return utf-16 or utf-32 where the first bytes show one: a byte order mark, or a NUL in every second byte."""
    with path.open("rb") as handle:
        head = handle.read(64)
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = head[0::2], head[1::2]
    for codec, full, empty in (("utf-16-le", even, odd), ("utf-16-be", odd, even)):
        # Halves of other characters than these may be 0 too, but not often. A header of eight letters is enough.
        if len(empty) > 1 and full.count(0) * 10 <= len(full) and empty.count(0) * 4 >= len(empty):
            return codec
    return None


def detect_encoding(path: Path, name: str) -> Encoding:
    """Return the only encoding in which a file that is no UTF-8 decodes and reads as writing.

    Raises DataFileError with the place of the first byte that is no UTF-8 and what each encoding makes of that line.
    """
    lines = _evidence(path)
    data = _count_once(lines)
    decoding = {encoding: text for encoding in ENCODINGS if (text := _decoded(data, encoding.codec)) is not None}
    reading = {encoding: text for encoding, text in decoding.items() if encoding.reads(text)}
    if len(set(reading.values())) == 1:
        found = next(iter(reading))
        text = _decoded(lines, found.codec) or ""
        evidence, distinct_evidence = _count_outside(text), _count_outside(reading[found])
        whole = {_decoded(path.read_bytes(), encoding.codec) for encoding in reading}
        enough = evidence >= LEAST_EVIDENCE and distinct_evidence >= _LEAST_DISTINCT
        if enough and found.reads(text) and len(whole) == 1 and whole != {None}:
            return found
    # One encoding a text: several that differ in other letters than these say the same.
    distinct = {text: encoding for encoding, text in reversed((reading or decoding).items())}
    raise _not_utf8(path, name, [*reversed(distinct.values())], sure=bool(reading))


def undecodable(path: Path, name: str, codec: str) -> DataFileError:
    """Return the error that names the first byte of `path` that does not decode in `codec`."""
    data = path.read_bytes()
    try:
        data.decode(codec)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(codec, errors="replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        found = f"byte {error.start} (0x{data[error.start]:02x}) does not decode as {codec.removesuffix('-sig')}"
        remedy = "set data.encoding to the encoding that the file was written in, or save the file as UTF-8"
        return DataFileError(name, line, column, found, remedy)
    return DataFileError(name, 0, 0, "the file changed while it was read", "read it again")


def _read_strictly(path: Path, name: str, codec: str, read: Callable[[str], T]) -> T:
    try:
        return read(codec)
    except UnicodeError:
        raise undecodable(path, name, codec) from None


def _not_utf8(path: Path, name: str, candidates: list[Encoding], *, sure: bool) -> DataFileError:
    number, offset, line = _first_faulty(path)
    if not number:
        return DataFileError(name, 0, 0, "the file changed while it was read", "read it again")
    start = _first_fault(line)
    column = len(line[:start].decode("utf-8").removeprefix("\ufeff")) + 1
    shown = ", ".join(f"{found.codec}: {_sample(line, found.codec)!r}" for found in candidates)
    found = f"byte {offset + start} (0x{line[start]:02x}) is not UTF-8"
    if shown:
        found = f"byte {offset + start} (0x{line[start]:02x}) is not UTF-8; decoded as {shown}"
    if len(candidates) == 1 and sure:
        remedy = f"set data.encoding to {candidates[0].codec} if that is right, or save the file as UTF-8"
    elif candidates:
        remedy = "set data.encoding to the one that reads right, or save the file as UTF-8"
    else:
        remedy = "set data.encoding to the encoding that the file was written in, or save the file as UTF-8"
    return DataFileError(name, number, column, found, remedy)


def _evidence(path: Path) -> bytes:
    """Return the lines with other bytes than ASCII, from the first on, up to a limit."""
    pieces: list[bytes] = []
    size = 0
    with path.open("rb") as handle:
        for line in handle:
            if not line.isascii():
                pieces.append(line)
                size += len(line)
                if size > EVIDENCE_BYTES:
                    break
    return b"".join(pieces)


def _count_outside(text: str) -> int:
    return sum(character > "\x7f" for character in text)


def _count_once(data: bytes) -> bytes:
    """Return every word once where there are few: a letter is not the more frequent for a word that stands again."""
    once = b" ".join(dict.fromkeys(data.split()))
    return once if len(once.translate(None, bytes(range(128)))) < _MANY_BYTES else data


def _first_faulty(path: Path) -> tuple[int, int, bytes]:
    """Return the first line that is no UTF-8: its number from 1, the offset of its first byte, its bytes."""
    number, offset = 0, 0
    with path.open("rb") as handle:
        for lines in handle:
            for line in lines.splitlines(keepends=True):  # some files end their lines in CR alone
                number += 1
                if _first_fault(line) >= 0:
                    return number, offset, line
                offset += len(line)
    return 0, 0, b""


def _first_fault(line: bytes) -> int:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return -1


def _decoded(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return None


def _sample(line: bytes, codec: str) -> str:
    """Return a piece of a line around its first character outside of ASCII."""
    text = line.decode(codec, errors="replace").strip()
    first = next((index for index, character in enumerate(text) if character > "\x7f"), 0)
    start = max(0, first - _SAMPLE_CHARACTERS // 3)
    return text[start : start + _SAMPLE_CHARACTERS]


def _first_line(path: Path, codec: str) -> str:
    with path.open("rb") as handle:
        text = handle.read(4 * _SAMPLE_CHARACTERS).decode(codec, errors="replace")
    return text.removeprefix("\ufeff").split("\n")[0].strip()[:_SAMPLE_CHARACTERS]
