"""What an error about a file says to do is done to the letter, and the file is then read as it should be."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from finetune30.config.loading import validate_tree
from finetune30.data.sources.resolve import LoadedSources, load_sources
from finetune30.errors import DataError
from support.workbooks import write_xlsx

CSV = "text,label\n{},1\n"


def load(path: Path | str, **data: Any) -> LoadedSources:
    config = validate_tree({"data": {"dataset_name": str(path), **data}})
    return load_sources(config.data, lambda _: None)


def refused(path: Path | str, **data: Any) -> tuple[str, str]:
    """Return message and remedy."""
    with pytest.raises(DataError) as caught:
        load(path, **data)
    return caught.value.message, str(caught.value.remedy)


def texts_of(loaded: LoadedSources) -> list[str]:
    return [text for table in loaded.train for text in table.frame["text"]]


def test_the_one_encoding_that_is_named_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "menu.csv"
    path.write_bytes(CSV.format("café").encode("cp1252"))
    _, remedy = refused(path)
    named = re.fullmatch(r"set data\.encoding to (\S+) if that is right, or save the file as UTF-8", remedy)
    assert named is not None, remedy
    assert texts_of(load(path, encoding=named[1])) == ["café"]


def test_the_encoding_that_reads_right_is_among_those_that_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    text = "很髒很吵"
    path.write_bytes(CSV.format(text).encode("big5"))
    message, remedy = refused(path)
    shown = dict(re.findall(r"(\w+): '([^']*)'", message.partition("decoded as ")[2]))
    right = [codec for codec, sample in shown.items() if text in sample]
    assert len(right) == 1, (message, remedy)
    assert texts_of(load(path, encoding=right[0])) == [text]


def test_an_encoding_that_nobody_guesses_is_named_by_who_knows_it(tmp_path: Path) -> None:
    path = tmp_path / "turkish.csv"
    text = "ğüşıöç ĞÜŞİÖÇ çok güzel bir film"
    path.write_bytes(CSV.format(text).encode("cp1254"))
    refused(path, encoding="big5")
    assert texts_of(load(path, encoding="cp1254")) == [text]
    path.write_text(CSV.format(text), encoding="utf-8")  # the other way that is named
    assert texts_of(load(path)) == [text]


def test_an_encoding_beside_data_that_are_no_file_is_left_out() -> None:
    _, remedy = refused("starter", encoding="big5")
    assert remedy == "leave data.encoding out"
    assert texts_of(load("starter"))


def test_a_sheet_beside_a_file_without_sheets_is_said_to_choose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(CSV.format("good"))
    loaded = load(path, sheet="One")
    assert texts_of(loaded) == ["good"]
    [note] = loaded.train[0].notes
    assert note == "data.sheet ('One') chooses nothing here: it is for files that end in .xlsx, .ods, .zip"


def test_the_sheet_or_file_that_is_listed_is_read(tmp_path: Path) -> None:
    write_xlsx(tmp_path / "a.xlsx", {"One": [["text", "label"], ["a", 1]], "Two": [["text", "label"], ["b", 1]]})
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("one.csv", CSV.format("a"))
        archive.writestr("two.csv", CSV.format("b"))
    for name in ("a.xlsx", "a.zip"):
        path = tmp_path / name
        for given in ({}, {"sheet": "elsewhere"}):
            message, remedy = refused(path, **given)
            assert remedy.startswith("set data.sheet to")
            listed = [found for found in re.findall(r"'([^']*)'", message) if found != "elsewhere"]
            assert [texts_of(load(path, sheet=sheet)) for sheet in listed[-2:]] == [["a"], ["b"]]
