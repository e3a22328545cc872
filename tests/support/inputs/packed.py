"""Workbooks, Parquet and archives."""

from __future__ import annotations

import datetime
import decimal
import gzip
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from support.inputs.case import Case
from support.inputs.sheets import ods, ods_row, text, xlsx
from support.workbooks import write_xlsx

TWO = (("good film", "pos"), ("bad film", "neg"))
CSV = b"text,label\ngood film,pos\nbad film,neg\n"
HEADER = f'<row r="1">{text("A1", "text")}{text("B1", "label")}</row>'
TEXTS = ["good film", "bad film"]


def parquet(columns: Mapping[str, Any]) -> Callable[[Path], None]:
    """Return what writes columns as Parquet."""
    return lambda path: pq.write_table(pa.table(dict(columns)), path)


def zipped(files: Mapping[str, bytes]) -> Callable[[Path], None]:
    """Return what writes files into an archive."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)

    return write


def two_cells(row: int, first: str, second: str) -> str:
    """Return a row of two texts as XML."""
    return f'<row r="{row}">{text(f"A{row}", first)}{text(f"B{row}", second)}</row>'


PACKED = (
    Case(84, "ExcelDataReader/ExcelDataReader#729", "a merged cell holds the label of three rows",
         "each row has the label; said", "a.xlsx",
         xlsx(HEADER + two_cells(2, "good film", "pos") + f'<row r="3">{text("A3", "fine film")}</row>'
              f'<row r="4">{text("A4", "nice film")}</row>' + two_cells(5, "bad film", "neg"),
              '<mergeCells count="1"><mergeCell ref="B2:B4"/></mergeCells>'),
         (("good film", "pos"), ("fine film", "pos"), ("nice film", "pos"), ("bad film", "neg")), (r"merged",)),
    Case(85, "ToucanToco/fastexcel#180", "an error (#N/A) in the place of a label",
         "the row has no label, and a finding names it",
         "a.xlsx",
         xlsx(HEADER + two_cells(2, "good film", "pos")
              + f'<row r="3">{text("A3", "bad film")}<c r="B3" t="e"><v>#N/A</v></c></row>' + two_cells(4, "worse",
         "neg")),
         (("good film", "pos"), ("bad film", None), ("worse", "neg")), (r"missing_label a\.xlsx:3",)),
    Case(86, "ExcelDataReader/ExcelDataReader#329", "the text #N/A, which is no error", "the text", "a.xlsx",
         xlsx(HEADER + two_cells(2, "#N/A", "pos") + two_cells(3, "bad film", "neg")),
         (("#N/A", "pos"), ("bad film", "neg"))),
    Case(87, "shuchkin/simplexlsx#40", "dates as labels, counted from 1904", "the dates", "a.xlsx",
         xlsx(HEADER + f'<row r="2">{text("A2", "good film")}<c r="B2" s="1"><v>40787</v></c></row>'
              f'<row r="3">{text("A3", "bad film")}<c r="B3" s="1"><v>40788</v></c></row>',
              workbook={"<sheets>": '<workbookPr date1904="1"/><sheets>'}),
         (("good film", "2015-09-02"), ("bad film", "2015-09-03"))),
    Case(88, "tidyverse/readxl#716", "dates as labels", "the dates", "a.xlsx",
         xlsx(HEADER + f'<row r="2">{text("A2", "good film")}<c r="B2" s="1"><v>45292</v></c></row>'
              f'<row r="3">{text("A3", "bad film")}<c r="B3" s="1"><v>45293</v></c></row>'),
         (("good film", "2024-01-01"), ("bad film", "2024-01-02"))),
    Case(89, "tidyverse/readxl#513", "a hidden sheet before the visible one", "the rows of the visible one", "a.xlsx",
         lambda path: _with_hidden_sheet(path), TWO, (r"sheet 'Seen'",)),
    Case(90, "yakew7/Fair-Code#182", "two sheets, data and notes", "refused, naming both; never the first unsaid",
         "a.xlsx",
         lambda path: write_xlsx(path, {"data": [["text", "label"], ["good film", "pos"]], "notes": [["by"], ["me"]]}),
         None, (r"'data', 'notes'", r"data\.sheet")),
    Case(91, "tidyverse/readxl#51", "_x000D_ stands for a carriage return, _x005F_ for an underscore",
         "the texts as meant",
         "a.xlsx", xlsx(HEADER + two_cells(2, "first_x000D_\nsecond", "pos") + two_cells(3, "_x005F_x000D_", "neg")),
         (("first\r\nsecond", "pos"), ("_x000D_", "neg"))),
    Case(92, "ycphs/openxlsx#427", "numbers stored as texts", "the texts, zeros before them too", "a.xlsx",
         xlsx(HEADER + two_cells(2, "37.40", "007") + two_cells(3, "12", "07")), (("37.40", "007"), ("12", "07"))),
    Case(93, "tidyverse/readxl#389", "a number that a format shows with zeros before it",
         "the number as it is shown; said", "a.xlsx",
         xlsx(HEADER + f'<row r="2">{text("A2", "good film")}<c r="B2" s="2"><v>123</v></c></row>'
              f'<row r="3">{text("A3", "bad film")}<c r="B3" s="2"><v>12</v></c></row>'),
         (("good film", "0000123"), ("bad film", "0000012")), (r"format '0000000': 2, read as it shows them",)),
    Case(94, "ropensci/readODS#81", "equal rows are written once, with their number", "each row", "a.ods",
         ods(ods_row("text", "label") + ods_row("good film", "pos", repeated=2) + ods_row("bad film", "neg")),
         (("good film", "pos"), ("good film", "pos"), ("bad film", "neg"))),
    Case(95, "tdf/odftoolkit#25", "a million empty rows of 16,384 cells at the end", "the rows, in a moment", "a.ods",
         ods(ods_row("text", "label") + ods_row("good film", "pos") + ods_row("bad film", "neg")
             + '<table:table-row table:number-rows-repeated="1048573">'
               '<table:table-cell table:number-columns-repeated="16384"/></table:table-row>'), TWO),
    Case(96, "productdevbook/hucre#394", "an empty row between rows", "the rows, by their own numbers", "a.ods",
         ods(ods_row("text", "label") + ods_row("good film", "pos")
             + "<table:table-row><table:table-cell/></table:table-row>" + ods_row("bad film", "neg")), TWO),
    Case(97, "pola-rs/polars#17945", "pyarrow's dictionaries, with 64-bit keys", "the texts behind the keys",
         "a.parquet",
         parquet({"text": TEXTS, "label": pa.array(["pos", "neg"]).dictionary_encode()
                  .cast(pa.dictionary(pa.int64(), pa.string()))}), TWO),
    Case(98, "SauersML/gam#1162", "a dictionary of numbers", "the numbers", "a.parquet",
         parquet({"text": TEXTS, "label": pa.array([20, 3]).dictionary_encode()}), (("good film", "20"), ("bad film",
         "3"))),
    Case(99, "milvus-io/milvus#33197", "pandas' index as a column beside columns of no usual name",
         "the other two columns",
         "a.parquet",
         lambda path: pd.DataFrame({"opinion": ["good film of the year", "bad film of the year"], "kind": ["pos",
         "neg"]},
                                   index=[7, 9]).to_parquet(path),
         (("good film of the year", "pos"), ("bad film of the year", "neg"))),
    Case(100, "apache/parquet-java#412", "decimals as labels", "the decimals as they are written", "a.parquet",
         parquet({"text": TEXTS, "label": pa.array([decimal.Decimal("1.50"), decimal.Decimal("20.00")])}),
         (("good film", "1.50"), ("bad film", "20.00"))),
    Case(101, "benwatson528/intellij-avro-parquet-plugin#58", "timestamps and dates", "ISO 8601", "a.parquet",
         parquet({"text": TEXTS, "label": pa.array([datetime.date(2021, 1, 1), datetime.date(2021, 1, 2)])}),
         (("good film", "2021-01-01"), ("bad film", "2021-01-02"))),
    Case(102, "foundation-model-stack/fms-hf-tuning#551", "lists and large lists of labels", "the lists", "a.parquet",
         parquet({"text": pa.array(TEXTS, pa.large_string()),
                  "labels": pa.array([["a", "b"], ["b"]], pa.large_list(pa.large_string()))}),
         (("good film", '["a", "b"]'), ("bad film", '["b"]'))),
    Case(103, "dart-lang/sdk#55469", "gzip of several members", "all rows", "a.csv.gz",
         gzip.compress(CSV[:25], mtime=0) + gzip.compress(CSV[25:], mtime=0), TWO),
    Case(104, "h2oai/datatable#488", "an archive from macOS, with __MACOSX", "the rows", "a.zip",
         zipped({"a/train.csv": CSV, "__MACOSX/a/._train.csv": b"\0\5\x16\7", "a/.DS_Store": b"x"}), TWO),
    Case(105, "benedekrozemberczki/datasets#10", "an archive that holds a Git LFS pointer", "refused, naming it",
         "a.zip",
         zipped({"target.csv": b"version https://git-lfs.github.com/spec/v1\noid sha256:91\nsize 33\n"}), None,
         (r"Git LFS pointer", r"git lfs pull")),
    Case(106, "huggingface/datasets#3021", "an archive with train.csv and test.csv", "the rows of both, as of a folder",
         "a.zip", zipped({"train.csv": CSV, "test.csv": b"text,label\nfine film,pos\nworse film,neg\n"}),
         (*TWO, ("fine film", "pos"), ("worse film", "neg"))),
)  # fmt: skip


def _with_hidden_sheet(path: Path) -> None:
    shown = [["text", "label"], *map(list, TWO)]
    write_xlsx(path, {"Hidden": [["a", "b"], ["c", "d"]], "Seen": shown})
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    parts["xl/workbook.xml"] = parts["xl/workbook.xml"].replace('name="Hidden"', 'name="Hidden" state="hidden"')
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
