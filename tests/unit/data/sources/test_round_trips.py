"""Any table in any form and encoding is read as it was written, or refused with what it may be; never as another.

`make round-trips` draws many more tables (ROUND_TRIPS: how many of each).
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from finetune30.data.sources.encodings import ENCODINGS
from finetune30.data.sources.files import load_file
from finetune30.data.sources.table import SourceTable
from finetune30.errors import DataFileError
from support.natural_texts import NATURAL
from support.table_forms import BINARY_FORMS, TEXT_FORMS, Rows, pack

COUNT = int(os.environ.get("ROUND_TRIPS", "60"))
MANY = settings(
    max_examples=COUNT,
    deadline=None,
    derandomize="ROUND_TRIPS" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    database=None,
)
#: Pieces that separators, quotes, line ends, other readers and labels are made of.
PIECES = (
    '"', '""', "'", ",", ";", "\t", "|", "\n", "\r\n", "\r", "\\", '\\"', "#", "=", "[", "]", "{", "}", ":", "/",
    "&amp;", "a", "b", "good film", "Der Ärger", "très", "很好", "不好吃", "これは", "좋아요", "جيد", "טוב", "хорошо",
    "😀", "👩‍👩‍👧", "\u200b", "\u200f", "\u2028", "\x85", "\x0b", "\x0c", "\xa0", "e\u0301", "1", "01", "1.0", "-1",
    "٣", "３", "²", "NaN", "null", "None", "true", "True", "[1, 0]", '["a"]', "sep=;", "text", "label", "Unnamed: 0",
    "2021-01-01", "1,5", "“x”",
)  # fmt: skip
TEXT = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
ROWS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8)
#: What is no character of XML is none of a workbook.
NO_XML = re.compile("[\x00-\x08\x0b-\x1f]")
#: Refusals that mean: this could be read in two ways.
IN_DOUBT = re.compile(r"takes lines \d+ to \d+ for one row")


def read(path: Path) -> SourceTable | DataFileError:
    """Return the table, or why the file is refused."""
    try:
        return load_file(path)
    except DataFileError as error:
        return error


def cells_of(table: SourceTable) -> list[tuple[str, str]]:
    rows = table.frame.select("text", "label").iter_rows()
    return [(text or "", label or "") for text, label in rows]


def is_plain(table: SourceTable) -> bool:
    """Say whether a TSV was taken for one that never quotes, which is said: its quotes took rows together."""
    return "quotation marks read as plain characters" in table.notes


@MANY
@given(rows=ROWS, form=st.sampled_from(sorted(TEXT_FORMS)), how=st.sampled_from(["", "gz", "zip"]),
       codec=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]))  # fmt: skip
def test_text_in_unicode_is_read_as_it_was_written(rows: Rows, form: str, how: str, codec: str) -> None:
    name, write = TEXT_FORMS[form]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(write(rows).encode(codec))
        found = read(pack(path, how))
    if isinstance(found, DataFileError):
        assert IN_DOUBT.search(found.message), found.message
    else:
        assert cells_of(found) == list(rows) or is_plain(found)


@MANY
@given(rows=ROWS, form=st.sampled_from(sorted(BINARY_FORMS)), how=st.sampled_from(["", "gz", "zip"]))
def test_other_files_are_read_as_they_were_written(rows: Rows, form: str, how: str) -> None:
    name, write = BINARY_FORMS[form]
    if name.endswith((".xlsx", ".ods")):
        rows = [tuple(NO_XML.sub(" ", cell).strip() for cell in row) for row in rows]  # type: ignore[misc]
        rows = [row for row in rows if any(row)] or [("a", "b")]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name, rows)
        assert cells_of(load_file(pack(Path(folder) / name, how))) == list(rows)


@st.composite
def natural(draw: st.DrawFn) -> tuple[str, str, Rows]:
    """Draw language, encoding and rows of sentences and of words of that language."""
    language = draw(st.sampled_from(sorted(NATURAL)))
    codecs, sentences = NATURAL[language]
    words = [word for sentence in sentences for word in (sentence.split() if " " in sentence else [sentence[:5]])]
    sentence = st.sampled_from(sentences) | st.lists(st.sampled_from(words), min_size=1, max_size=8).map(" ".join)
    rows = draw(st.lists(st.tuples(sentence, st.sampled_from(["pos", "neg", words[0]])), min_size=1, max_size=12))
    return language, draw(st.sampled_from(codecs)), rows


@MANY
@given(drawn=natural(), form=st.sampled_from(["comma", "comma, CR", "semicolon", "tab", "lines", "records"]))
def test_text_in_another_encoding_is_read_or_the_encoding_is_offered(drawn: tuple[str, str, Rows], form: str) -> None:
    _, codec, rows = drawn
    name, write = TEXT_FORMS[form]
    content = write(rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content.encode(codec))
        found = read(path)
    if isinstance(found, DataFileError):
        offered = re.findall(r"(\w+): ['\"]", found.message.partition("decoded as ")[2])
        known = [known.codec for known in ENCODINGS if _decoded(content.encode(codec), known.codec) == content]
        assert {*offered} & {*known}, found.message
    else:
        assert cells_of(found) == list(rows)


@MANY
@given(data=st.data(), codec=st.sampled_from([encoding.codec for encoding in ENCODINGS]))
def test_no_encoding_is_taken_for_another(data: st.DataObject, codec: str) -> None:
    """Whatever characters an encoding has, in whatever order: its bytes are not read as another text."""
    letters = [character for character in map(chr, range(0xA0, 0x2122)) if _encodable(character, codec)]
    letters += [
        character for character in "的一是不了人我在有他這中大來上為日本語私한국어" if _encodable(character, codec)
    ]
    text = data.draw(st.lists(st.text(st.sampled_from(letters), min_size=1, max_size=8), min_size=4, max_size=12))
    rows = [(" ".join(text), "a"), (" ".join(reversed(text)), "b")]
    assume(_decoded(rows[0][0].encode(codec), "utf-8") is None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_bytes(TEXT_FORMS["comma, CR LF, all quoted"][1](rows).encode(codec))
        found = read(path)
    if isinstance(found, DataFileError):
        assert "is not UTF-8" in found.message
    else:
        assert cells_of(found) == rows


def _encodable(character: str, codec: str) -> bool:
    try:
        return not character.encode(codec).isascii() and not character.isspace()
    except UnicodeEncodeError:
        return False


def _decoded(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return None
