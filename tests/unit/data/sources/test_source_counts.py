"""What files of a set count themselves, beside the rows that a library read from them."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl

from finetune30.data.sources.source_counts import count_notes


def test_rows_that_nobody_read_are_said(tmp_path: Path) -> None:
    for name, rows in (("a.parquet", 3), ("b.parquet", 2)):
        pl.DataFrame({"text": ["x"] * rows}).write_parquet(tmp_path / name)
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    counted = "(a.parquet 3, b.parquet 2)"
    assert count_notes(tmp_path, files, 5) == (f"rows read: 5, as many as its files count themselves {counted}",)
    assert count_notes(tmp_path, files, 4) == (f"rows read: 4, but its files count 5 themselves {counted}",)


def test_lines_of_packed_and_plain_text_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n \r\n{"a": 2}'))
    (tmp_path / "b.txt").write_bytes(b"one\r\rtwo\n")  # a line of plain text is a row, also a blank one
    (tmp_path / "c.json").write_bytes(b'{"a": 1}\n{"a": 2}\n')
    files = [tmp_path / name for name in ("a.jsonl.gz", "b.txt", "c.json")]
    assert count_notes(tmp_path, files, 7) == (
        "rows read: 7, as many as its files count themselves (a.jsonl.gz 2, b.txt 3, c.json 2)",
        "blank lines in a.jsonl.gz: 1 (2)",
        "blank lines in b.txt: 1 (2)",
    )


def test_what_cannot_be_counted_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{\n"data": [{"text": "a"}]\n}\n')
    for name in ("b.zip", "c.zip", "d.zip"):
        (tmp_path / name).write_bytes(b"")
    files = [tmp_path / name for name in ("a.json", "b.zip", "c.zip", "d.zip")]
    assert count_notes(tmp_path, files, 1) == (
        "rows are not counted apart from their reader in a.json, b.zip, c.zip … (+1)",
    )
    assert count_notes(tmp_path, [], 1) == ()
