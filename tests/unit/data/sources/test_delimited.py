"""CSV and TSV as spreadsheets, crowdsourcing sites and scripts write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune30.data.sources.files import load_file
from finetune30.data.sources.table import LINE
from finetune30.errors import DataFileError


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"', "\ufeffsep=;"])
def test_line_that_declares_the_separator_is_used(first: str, tmp_path: Path) -> None:
    table = load_file(write(tmp_path, "a.csv", f"{first}\r\ntext;label\r\na, b;pos\r\n"))
    assert table.frame.rows() == [("a, b", "pos", 3)]
    assert table.notes == ("cells separated by ';', as line 1 says",)


def test_columns_without_a_name_that_hold_nothing_are_left_out(tmp_path: Path) -> None:
    table = load_file(write(tmp_path, "a.csv", "v1,v2,,,\nham,hi,,,\nspam,win, ,,\n"))
    assert table.columns == ["v1", "v2"]
    assert table.frame["v2"].to_list() == ["hi", "win"]
    assert table.notes == ("3 columns without a name hold nothing; left out",)


def test_column_without_a_name_that_holds_something_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="column 3 of the header has no name, but line 3 holds 'more' there"):
        load_file(write(tmp_path, "a.csv", "v1,v2,\nham,hi,\nspam,win,more\n"))


def test_separators_at_the_end_of_rows_are_no_cells(tmp_path: Path) -> None:
    table = load_file(write(tmp_path, "a.csv", "text,label\na,1,\nb,0,,\n"))
    assert table.frame["label"].to_list() == ["1", "0"]
    assert table.notes == ("2 rows end in separators without a cell behind them",)


def test_blank_lines_before_the_header_are_skipped_and_counted(tmp_path: Path) -> None:
    table = load_file(write(tmp_path, "a.csv", "\n\r\ntext;label\na;1\n"))
    assert table.frame.rows() == [("a", "1", 4)]


def test_tsv_of_few_rows_is_judged_by_the_lines_that_quotes_would_take_together(tmp_path: Path) -> None:
    content = 'sentence\tlabel\n"good\t1\nbad\t0\nfine"\t1\nrude\t0\n'
    table = load_file(write(tmp_path, "a.tsv", content))
    assert table.frame["sentence"].to_list() == ['"good', "bad", 'fine"', "rude"]


def test_quotes_escaped_by_backslashes_that_take_lines_together_are_read_as_meant(tmp_path: Path) -> None:
    content = 'text,label\n"say \\"",1\n"plain",0\n"say \\"",1\n'
    table = load_file(write(tmp_path, "a.csv", content))
    assert table.frame["text"].to_list() == ['say "', "plain", 'say "']


@pytest.mark.parametrize("quotes", [True, False])
def test_byte_order_mark_in_the_middle_is_taken_away_and_said(quotes: bool, tmp_path: Path) -> None:
    header = '"text","label"' if quotes else "text,label"
    table = load_file(write(tmp_path, "a.csv", f"\ufeff{header}\na,1\n\ufeff{header}\nb,0\n"))
    assert table.frame["text"].to_list() == ["a", "text", "b"]
    assert table.notes == ("a file was appended at line 3: a byte order mark stands there",)


def test_separators_inside_of_a_quoted_header_do_not_count(tmp_path: Path) -> None:
    table = load_file(write(tmp_path, "a.csv", '"Comment (free, any, length)";"Label"\n"good";"pos"\n'))
    assert table.columns == ["Comment (free, any, length)", "Label"]


def test_quotes_escaped_by_backslashes_are_read_where_all_are(tmp_path: Path) -> None:
    table = load_file(write(tmp_path, "a.csv", 'text,label\n"he said \\"go, now\\" and went",1\n"plain",0\n'))
    assert table.frame["text"].to_list() == ['he said "go, now" and went', "plain"]
    assert table.notes == ("quotation marks inside of cells follow a backslash",)


def test_backslash_before_a_quote_is_named_where_backslashes_mean_other_things_too(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="a backslash stands before a quotation mark") as caught:
        load_file(write(tmp_path, "a.csv", 'text,label\nC:\\new,1\n"he said \\"go\\" now",1\n'))
    assert caught.value.message.startswith("a.csv:3:10: ")
    assert 'twice ("")' in caught.value.remedy
    table = load_file(write(tmp_path, "a.csv", 'text,label\nC:\\new,1\n"he said ""go"" now",1\n'))
    assert table.frame["text"][1] == 'he said "go" now'


def test_tsv_in_which_quotes_would_take_rows_together_is_read_plain(tmp_path: Path) -> None:
    rows = ["good\t1", '"the room was bad\t0', "fine\t1", 'rude staff"\t0', "bad\t0"]
    table = load_file(write(tmp_path, "a.tsv", "\n".join(["sentence\tlabel", *rows]) + "\n"))
    assert table.frame["sentence"].to_list() == [row.split("\t")[0] for row in rows]
    assert table.frame[LINE].to_list() == [2, 3, 4, 5, 6]
    assert table.notes == ("quotation marks read as plain characters",)


def test_csv_in_which_quotes_would_take_rows_together_is_refused(tmp_path: Path) -> None:
    content = 'text,label\ngood,1\n"the room was bad,0\nfine,1\nrude staff",0\nbad,0\n'
    with pytest.raises(DataFileError, match="takes lines 3 to 5 for one row") as caught:
        load_file(write(tmp_path, "a.csv", content))
    assert caught.value.message.startswith("a.csv:3: ")
    mended = content.replace('"the room was bad', '"""the room was bad"').replace('rude staff"', '"rude staff"""')
    table = load_file(write(tmp_path, "a.csv", mended))
    assert table.frame["text"].to_list() == ["good", '"the room was bad', "fine", 'rude staff"', "bad"]


def test_text_of_several_lines_stays_one_cell_and_is_said_where_its_lines_look_like_rows(tmp_path: Path) -> None:
    table = load_file(write(tmp_path, "a.csv", 'text,label\n"Well, no\nSo, yes",1\n"one\ntwo",0\nplain,1\n'))
    assert table.frame["text"].to_list() == ["Well, no\nSo, yes", "one\ntwo", "plain"]
    # The first record's lines have no separator in the last cell's place: two on the second line.
    assert table.notes == ()
    table = load_file(write(tmp_path, "b.tsv", 'text\tlabel\n"a\tb\nc"\t1\nplain\t0\n'))
    assert table.frame["text"].to_list() == ["a\tb\nc", "plain"]
    assert table.notes == ("quoted cells that hold line ends and separators: lines 2 to 3 are one row each",)


def test_wide_file_is_refused_at_once(tmp_path: Path) -> None:
    header = ",".join(f"c{number}" for number in range(100_000))
    with pytest.raises(DataFileError, match="100,000 columns; at most 1,000 are read"):
        load_file(write(tmp_path, "a.csv", f"{header}\n{header}\n"))
