"""Every physical line is a row or counted under its reason, whatever the file is made of."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune30.data.sources.files import load_file
from finetune30.data.sources.physical_lines import KEPT_NUMBERS, LineTally, check_lines, count_lines, describe_lines
from finetune30.errors import DataFileError

SEP_CSV = 'sep=;\r\n\r\ntext;label\r\n"two\r\nlines";1\r\n\r\nplain;0\r\n\r\n'


def account(path: Path, content: bytes) -> dict[str, object]:
    path.write_bytes(content)
    lines = load_file(path).lines
    assert lines is not None
    return lines.as_tree()


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16"])
def test_lines_of_a_csv_are_rows_or_have_a_reason_and_a_number(codec: str, tmp_path: Path) -> None:
    assert account(tmp_path / "a.csv", SEP_CSV.encode(codec)) == {
        "physical": 8,
        "rows": 2,
        "rows_on_shared_lines": 0,
        "not_rows": {
            "separator_line": {"count": 1, "first": [1]},
            "blank": {"count": 3, "first": [2, 6, 8]},
            "header": {"count": 1, "first": [3]},
            "inside_quoted_cell": {"count": 1, "first": [5]},
        },
    }


def test_a_header_of_several_lines_is_one_header(tmp_path: Path) -> None:
    tree = account(tmp_path / "a.csv", b'"te\nxt",label\na,1\n')
    assert (tree["physical"], tree["rows"]) == (3, 1)
    assert tree["not_rows"] == {
        "header": {"count": 1, "first": [1]},
        "inside_quoted_cell": {"count": 1, "first": [2]},
    }


def test_a_file_without_a_last_line_end_and_one_of_carriage_returns_are_counted_alike(tmp_path: Path) -> None:
    for content in (b"a\tb\n1\t2\n3\t4", b"a\tb\r1\t2\r3\t4\r", b"a\tb\r\n1\t2\r\n3\t4\r\n"):
        assert account(tmp_path / "a.tsv", content)["physical"] == 3


def test_lines_of_packed_files_are_those_of_the_file_inside(tmp_path: Path) -> None:
    plain = account(tmp_path / "a.csv", SEP_CSV.encode())
    assert account(tmp_path / "a.csv.gz", gzip.compress(SEP_CSV.encode())) == plain
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inside.csv", SEP_CSV)
    assert account(tmp_path / "a.zip", packed.getvalue()) == plain


def test_lines_of_json_lines_that_are_blank_or_go_on_are_no_rows(tmp_path: Path) -> None:
    tree = account(tmp_path / "a.jsonl", b'{"a": 1}\n\n{"a":\n2}\n \n')
    assert (tree["physical"], tree["rows"]) == (5, 2)
    assert tree["not_rows"] == {"blank": {"count": 2, "first": [2, 5]}, "json_layout": {"count": 1, "first": [4]}}


def test_rows_that_share_a_line_are_counted_as_such(tmp_path: Path) -> None:
    tree = account(tmp_path / "a.json", b'[\n{"a": 1}, {"a": 2},\n{"a":\n3}]')
    assert (tree["physical"], tree["rows"], tree["rows_on_shared_lines"]) == (4, 3, 1)
    assert tree["not_rows"] == {"json_layout": {"count": 2, "first": [1, 4]}}
    said = "4 lines = 3 rows (1 on the line of another) + 2 of brackets or of records that began before (lines 1, 4)"
    assert describe_lines(tree) == said


def test_where_a_number_stands_for_the_line_of_a_row_there_is_no_account(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"text": ["a", "b"], "label": ["0", "1"]}')
    assert load_file(tmp_path / "a.json").lines is None


def test_only_the_first_numbers_are_kept_and_all_are_counted() -> None:
    tally = LineTally()
    tally.add("blank", 1)
    tally.add("blank", 10, 100_000)
    assert tally.counts == {"blank": 99_992}
    assert tally.numbers == {"blank": [1, *range(10, 10 + KEPT_NUMBERS - 1)]}


def test_a_line_that_is_in_no_count_is_a_fault_of_the_reader(tmp_path: Path) -> None:
    tally = LineTally()
    tally.add("header", 1)
    with pytest.raises(DataFileError, match=r"a\.csv: the file has 4 lines, but 3 are accounted"):
        tally.account("a.csv", 4, 2)
    tree = tally.account("a.csv", 3, 2).as_tree()
    with pytest.raises(DataFileError, match="the file has 3 lines, but 2 are accounted"):
        check_lines("a.csv", {**tree, "rows": 1})


@settings(max_examples=200, deadline=None)
@given(
    content=st.text(st.sampled_from("ab\r\n\u2028\x0b\x85é"), max_size=40), codec=st.sampled_from(["utf-8", "utf-16"])
)
def test_lines_are_counted_as_text_files_are_iterated(
    content: str, codec: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    path.write_bytes(content.encode(codec))
    for ends in ("\n", "any"):
        with path.open(encoding=codec, newline="\n" if ends == "\n" else "") as handle:
            assert count_lines(path, codec, "\n" if ends == "\n" else "any") == len(list(handle))


def test_a_line_end_that_two_pieces_share_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune30.data.sources.physical_lines._PIECE_BYTES", 2)
    (tmp_path / "a.txt").write_bytes(b"a\r\nb\rc\nd")
    assert count_lines(tmp_path / "a.txt", "utf-8", "any") == 4
    assert count_lines(tmp_path / "a.txt", "utf-8", "\n") == 3


CELLS = st.text(st.sampled_from('ab ,;\t"\n\ré好'), min_size=1, max_size=12).filter(lambda cell: bool(cell.strip()))
TABLES = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8)
BLANKS = st.lists(st.integers(0, 2), min_size=9, max_size=9)


@settings(max_examples=150, deadline=None)
@given(rows=TABLES, blanks=BLANKS, ending=st.sampled_from(["\n", "\r\n"]), codec=st.sampled_from(["utf-8", "utf-16"]))
def test_the_lines_of_any_csv_add_up(
    rows: list[tuple[str, str]], blanks: list[int], ending: str, codec: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Blank lines are put between records; the lines inside of cells are what the cells hold."""
    text, expected_blank = io.StringIO(), 0
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator=ending)
    for place, row in enumerate([("one", "two"), *rows]):
        writer.writerow(row)
        text.write(ending * blanks[place])
        expected_blank += blanks[place]
    inside = sum(len(io.StringIO(cell + "|", newline="").readlines()) - 1 for row in rows for cell in row)
    path = tmp_path_factory.mktemp("table") / "a.csv"
    path.write_bytes(text.getvalue().encode(codec))
    try:
        table = load_file(path)
    except DataFileError:
        return  # cells that look like rows are refused, with their lines
    assert table.lines is not None
    tree = table.lines.as_tree()
    counts = {reason: entry["count"] for reason, entry in tree["not_rows"].items()}
    assert tree["physical"] == tree["rows"] + sum(counts.values()) == len(rows) + 1 + expected_blank + inside
    assert counts == {
        "header": 1,
        **({"blank": expected_blank} if expected_blank else {}),
        **({"inside_quoted_cell": inside} if inside else {}),
    }
    with path.open(encoding=codec, newline="") as handle:
        physical = list(handle)
    assert all(not physical[number - 1].strip() for number in tree["not_rows"].get("blank", {"first": []})["first"])


@settings(max_examples=100, deadline=None)
@given(
    records=st.lists(st.dictionaries(st.sampled_from(["a", "b"]), CELLS, min_size=1), min_size=1, max_size=6),
    indent=st.sampled_from([None, 1]),
    blanks=BLANKS,
    as_array=st.booleans(),
)
def test_the_lines_of_any_json_add_up(
    records: list[dict[str, str]],
    indent: int | None,
    blanks: list[int],
    as_array: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("records")
    if as_array:
        path = folder / "a.json"
        path.write_text(json.dumps(records, indent=indent))
    else:
        path = folder / "a.jsonl"
        parts = [
            json.dumps(record, indent=indent) + "\n" * (1 + gap) for record, gap in zip(records, blanks, strict=False)
        ]
        path.write_text("".join(parts))
    lines = load_file(path).lines
    assert lines is not None
    assert lines.rows == len(records)
    assert lines.total == len(path.read_text().splitlines())
    assert lines.total + lines.sharing == lines.rows + sum(lines.counts.values())
