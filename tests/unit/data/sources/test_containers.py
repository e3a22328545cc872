"""Tables inside of archives and workbooks, and bytes in Parquet files."""

from __future__ import annotations

import gzip
import re
import zipfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finetune30.data.sources import archives
from finetune30.data.sources.files import load_file
from finetune30.data.sources.options import FileOptions
from finetune30.data.sources.resolve import load_local
from finetune30.errors import DataFileError
from support.workbooks import Formatted, Rows, write_ods, write_xlsx

CSV = "text,label\ngood,pos\n"


def test_gzip_is_read_by_the_ending_before_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    table = load_file(tmp_path / "a.csv.gz")
    assert table.frame.rows() == [("good", "pos", 2)]
    assert table.row_ids().to_list() == ["a.csv.gz:2"]
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress('{"text": "很好"}'.encode("utf-16")))
    assert load_file(tmp_path / "b.jsonl.gz").frame["text"].to_list() == ["很好"]


def test_gzip_that_is_cut_off_or_says_nothing_about_its_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(CSV.encode() * 1000)[:-20])
    with pytest.raises(DataFileError, match="cannot be unpacked"):
        load_file(tmp_path / "a.csv.gz")
    (tmp_path / "b.gz").write_bytes(gzip.compress(CSV.encode()))
    with pytest.raises(DataFileError, match="does not say what is inside") as caught:
        load_file(tmp_path / "b.gz")
    assert "b.csv.gz" in caught.value.remedy


def test_fault_inside_of_an_archive_has_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text,label\na,b,c\n"))
    with pytest.raises(DataFileError, match=r"^a\.csv\.gz:2:5: "):
        load_file(tmp_path / "a.csv.gz")


def test_zip_with_one_table_is_read_and_others_ask_which(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("folder/train.csv", CSV)
        archive.writestr("folder/readme.txt", "hello")
        archive.writestr("__MACOSX/folder/._train.csv", "junk")
    table = load_file(tmp_path / "a.zip")
    assert table.row_ids().to_list() == ["a.zip/train.csv:2"]
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr("folder/test.csv", "text,label\nbad,neg\n")
    with pytest.raises(DataFileError, match=r"'folder/train.csv', 'folder/test.csv'") as caught:
        load_file(tmp_path / "a.zip")
    assert "set data.sheet" in caught.value.remedy
    chosen = load_file(tmp_path / "a.zip", options=FileOptions(sheet="folder/test.csv"))
    assert chosen.frame["text"].to_list() == ["bad"]
    with pytest.raises(DataFileError, match="no data file 'other"):
        load_file(tmp_path / "a.zip", options=FileOptions(sheet="other.csv"))


def test_compression_that_is_not_known_is_said_with_what_helps(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train.csv", CSV)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):  # the method, in both headers
        content[content.index(signature) + offset] = 98
    path.write_bytes(content)
    with pytest.raises(DataFileError, match="packed in a way that is not read") as caught:
        load_file(path)
    assert caught.value.remedy == "unpack it, and name the file inside"


def test_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 1_000)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"0" * 2_000))
    with pytest.raises(DataFileError, match="more than 1,000 bytes come out"):
        load_file(tmp_path / "a.csv.gz")


@pytest.mark.parametrize("ending", ["xlsx", "ods"])
def test_sheet_of_a_workbook_is_read_as_its_csv_would_be(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    rows: Rows = [
        ["text", "label", None],
        ["很好", 1, None],
        [None, None, None],
        ["1.5", 2.5, None],
        ["yes", True, None],
    ]
    (write_xlsx if ending == "xlsx" else write_ods)(path, {"Reviews": rows})
    table = load_file(path)
    assert table.frame.select("text", "label").rows() == [("很好", "1"), ("1.5", "2.5"), ("yes", "true")]
    assert table.row_ids().to_list() == [f"a.{ending}:2", f"a.{ending}:4", f"a.{ending}:5"]
    assert "sheet 'Reviews'" in table.notes


@pytest.mark.parametrize("ending", ["xlsx", "ods"])
def test_sheets_ask_which_and_the_answer_works(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    one: Rows = [["text", "label"], ["a", "x"]]
    two: Rows = [["text", "label"], ["b", "y"]]
    (write_xlsx if ending == "xlsx" else write_ods)(path, {"One": one, "Empty": [], "Two": two})
    with pytest.raises(DataFileError, match="several sheets hold something: 'One', 'Two'") as caught:
        load_file(path)
    assert "set data.sheet" in caught.value.remedy
    assert load_file(path, options=FileOptions(sheet="Two")).frame["text"].to_list() == ["b"]
    with pytest.raises(DataFileError, match="there is no sheet 'Three'; the sheets are 'One', 'Empty', 'Two'"):
        load_file(path, options=FileOptions(sheet="Three"))


def test_zeros_that_a_format_shows_before_a_number_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    padded = [Formatted(number, code) for number, code in ((7, "00000"), (123456, "00000"), (-42, "[$-409]000;@"))]
    others = [Formatted(1_234_567, "000\\-00\\-0000"), Formatted(2, "0.00"), Formatted(1.5, "000")]
    rows: Rows = [["text", "id", "label"], *[("a", *pair) for pair in zip(padded, others, strict=True)]]
    write_xlsx(path, {"S": rows})
    table = load_file(path)
    assert table.frame.select("id", "label").rows() == [("00007", "1234567"), ("123456", "2"), ("-042", "1.5")]
    assert table.notes[1:] == (
        "numbers of the column 'id' with the format '00000': 2, read as it shows them",
        "numbers of the column 'label' with the format '000\\\\-00\\\\-0000': 1, read as stored, not as it shows them",
        "numbers of the column 'id' with the format '[$-409]000;@': 1, read as it shows them",
    )


def test_zeros_that_an_open_document_shows_before_a_number_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.ods"
    padded = [Formatted(7, "", "00007"), Formatted(123456, "", "123456"), Formatted(-42, "", "-042")]
    others = [Formatted(1_234_567, "", "00-123-4567"), Formatted(2, "", "2.00"), Formatted(7.5, "", "007.5")]
    rows: Rows = [["text", "id", "label"], *[("a", *pair) for pair in zip(padded, others, strict=True)]]
    write_ods(path, {"Other": [["x"], [Formatted(1, "", "01")]], "S": rows})
    table = load_file(path, options=FileOptions(sheet="S"))
    assert table.frame.select("id", "label").rows() == [("00007", "1234567"), ("123456", "2"), ("-042", "7.5")]
    assert table.notes[1:] == (
        "numbers of the column 'id' with the format '00000': 1, read as it shows them",
        "numbers of the column 'label' with the format '00-000-0000': 1, read as stored, not as it shows them",
        "numbers of the column 'id' with the format '000': 1, read as it shows them",
    )


def test_rows_and_cells_of_an_open_document_may_stand_for_several_and_have_comments(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain.ods", tmp_path / "a.ods"
    twice, number = Formatted(7, "", "007"), Formatted(8, "", "8")
    write_ods(plain, {"S": [["text", "id", "label"], ["a", twice], ["b", number, "y"]]})
    with zipfile.ZipFile(plain) as before, zipfile.ZipFile(path, "w") as after:
        content = before.read("content.xml").decode()
        content = re.sub(
            r"<table:table-row>(?=<[^>]*><text:p>a<)", '<table:table-row table:number-rows-repeated="2">', content
        )
        content = content.replace('"7.0"', '"7.0" table:number-columns-repeated="2"')
        content = content.replace('"8.0">', '"8.0"><office:annotation><text:p>01</text:p></office:annotation>')
        after.writestr("mimetype", before.read("mimetype"))
        after.writestr("META-INF/manifest.xml", before.read("META-INF/manifest.xml"))
        after.writestr("content.xml", content)
    assert load_file(path).frame.select("id", "label").rows() == [("007", "007"), ("007", "007"), ("8", "y")]


def test_merged_cells_beside_what_is_used_hold_nothing(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain.xlsx", tmp_path / "a.xlsx"
    write_xlsx(plain, {"S": [["text", "label"], ["a", "x"], ["b", "y"]]})
    merged = '</sheetData><mergeCells count="1"><mergeCell ref="E2:F3"/></mergeCells>'
    with zipfile.ZipFile(plain) as before, zipfile.ZipFile(path, "w") as after:
        for name in before.namelist():
            after.writestr(name, before.read(name).decode().replace("</sheetData>", merged))
    assert load_file(path).frame.select("text", "label").rows() == [("a", "x"), ("b", "y")]


def test_formats_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    write_xlsx(path, {"S": [["text", "label"], ["a", 1]]})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("xl/styles.xml", "<styleSheet><no:name/><cellXfs><xf/></cellXfs></styleSheet>")
    table = load_file(path)
    assert table.frame["label"].to_list() == ["1"]
    assert "the number formats of the workbook cannot be read" in table.notes[1]


def test_broken_workbook_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04broken")
    with pytest.raises(DataFileError, match="cannot be unpacked"):
        load_file(tmp_path / "a.xlsx")
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w") as archive:
        archive.writestr("other.xml", "<other/>")
    with pytest.raises(DataFileError, match="the workbook cannot be read"):
        load_file(tmp_path / "b.xlsx")


def test_workbook_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_xlsx(tmp_path / "a.xlsx", {"One": [["text", "label"], ["a" * 5_000, "b"]]})
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 1_000)
    with pytest.raises(DataFileError, match="more than 1,000 bytes come out"):
        load_file(tmp_path / "a.xlsx")


def test_bytes_in_parquet_are_decoded_and_pictures_are_said_to_be_none(tmp_path: Path) -> None:
    texts = pa.array(["很好".encode(), None, b"bad"], type=pa.binary())
    pictures = pa.array([b"\x89PNG\xff", b"\xff\xd8", None], type=pa.binary())
    pq.write_table(pa.table({"text": texts, "picture": pictures}), tmp_path / "a.parquet")
    table = load_file(tmp_path / "a.parquet")
    assert table.frame["text"].to_list() == ["很好", None, "bad"]
    assert table.frame["picture"].to_list() == [None, None, None]
    assert table.notes == ("2 cells of 'picture' hold bytes that are no UTF-8",)
    assert table.frame.schema["picture"] == pl.String


def test_archive_of_files_named_by_their_split_is_read_as_their_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("comp/train.csv", "id,text,target\n1,good,1\n2,bad,0\n")
        archive.writestr("comp/test.csv", "id,text\n3,fine\n")
        archive.writestr("comp/sample_submission.csv", "id,target\n3,0\n")
    splits = load_local(tmp_path / "a.zip", FileOptions())
    assert {split: [table.name for table in tables] for split, tables in splits.items()} == {
        "train": ["a.zip/train.csv"],
        "test": ["a.zip/test.csv"],
    }
    assert splits["train"][0].row_ids().to_list() == ["a.zip/train.csv:2", "a.zip/train.csv:3"]
    assert splits["test"][0].frame["target"].to_list() == [None]
    chosen = load_local(tmp_path / "a.zip", FileOptions(sheet="comp/test.csv"))
    assert [table.name for table in chosen["train"]] == ["a.zip/test.csv"]


def test_archive_whose_files_say_no_split_or_the_same_twice_asks_which(tmp_path: Path) -> None:
    for name, members in {"a.zip": ("one.csv", "two.csv"), "b.zip": ("x/train.csv", "y/train.csv")}.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member in members:
                archive.writestr(member, CSV)
        with pytest.raises(DataFileError, match="the archive holds several data files"):
            load_local(tmp_path / name, FileOptions())
