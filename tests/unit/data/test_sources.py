"""Reading files: what must be understood, and the place that a broken file's error names."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune30.data.sources.files import load_file
from finetune30.data.sources.folders import is_local, load_folder
from finetune30.data.sources.table import LINE
from finetune30.errors import DataError, DataFileError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_keeps_physical_lines_with_bom_crlf_quoted_newlines_and_header_space(tmp_path):
    content = b'\xef\xbb\xbf text , label \r\n"first\r\nsecond",1\r\n\r\nplain,0\r\n"say ""hi""",1\r\n'
    table = load_file(write(tmp_path, "a.csv", content))
    assert table.columns == ["text", "label"]
    assert table.frame["text"].to_list() == ["first\r\nsecond", "plain", 'say "hi"']
    assert table.frame[LINE].to_list() == [2, 5, 6]
    assert table.row_ids().to_list() == ["a.csv:2", "a.csv:5", "a.csv:6"]


def test_csv_takes_semicolons_when_the_header_has_them(tmp_path):
    table = load_file(write(tmp_path, "a.csv", "text;label\na, b;1\n"))
    assert table.frame["text"].to_list() == ["a, b"]


def test_tsv_reads_lone_quotation_marks_as_characters(tmp_path):
    table = load_file(write(tmp_path, "a.tsv", 'text\tlabel\n"half a quote\t1\nother "x" one\t0\n'))
    assert table.frame["text"].to_list() == ['"half a quote', 'other "x" one']
    assert table.notes == ("quotation marks read as plain characters",)


def test_tsv_reads_quoted_cells_when_all_are_well_formed(tmp_path):
    table = load_file(write(tmp_path, "a.tsv", 'text\tlabel\n"a\tb\nc"\t1\n'))
    assert table.frame["text"].to_list() == ["a\tb\nc"]


@pytest.mark.parametrize(
    ("name", "content", "place", "said"),
    [
        ("a.csv", "text,label\na,1\nb,c,0\n", "a.csv:3:5", "3 cells where the header has 2"),
        ("a.csv", "text,label\na,1\nb\n", "a.csv:3", "1 cell where the header has 2"),
        ("a.csv", 'text,label\na,1\nb,"0\n', "a.csv:3:3", "never closed"),
        ("a.csv", 'text,label\n"a,1\n"b",0\n', "a.csv:2:1", "quoted cell opens here"),
        ("a.csv", b"text,label\nabc,1\ncaf\xe9,0\n", "a.csv:3:4", "byte 20 (0xe9) is not UTF-8"),
        ("a.csv", "text,text\na,1\n", "a.csv:1", "stands twice"),
        ("a.csv", "text,,label\na,b,1\n", "a.csv:1", "has no name"),
        ("a.csv", "text,label\n", "a.csv:2", "no row below"),
        ("a.csv", "", "a.csv:1", "empty"),
        ("a.csv", '{"text": "a"}\n', "a.csv:1:1", "this is JSON"),
        ("a.csv", b"PAR1\x00\x00", "a.csv:1", "this is a Parquet file"),
        ("a.csv", b"PK\x03\x04\x00", "a.csv:1", "Excel"),
        ("a.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "a.csv:1", "Git LFS pointer"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b" "label": 0}\n', "a.jsonl:2:14", "invalid JSON"),
        ("a.jsonl", '{"text": "a"}\n[1, 2]\n', "a.jsonl:2:1", "expected an object"),
        ("a.jsonl", '[{"text": "a"}]', "a.jsonl:1:1", "one JSON array"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', "a.jsonl:2:11", "is not UTF-8"),
        ("a.json", '[\n {"text": "a"},\n {"text": }\n]', "a.json:3:11", "invalid JSON"),
        ("a.json", '[{"text": "a"} {"text": "b"}]', "a.json:1:16", "expected ',' or ']'"),
        ("a.json", '[{"text": "a"}', "a.json:1:15", "expected ',' or ']'"),
        ("a.json", '{"text": "a"}\n{"text": "b"}\n', "a.json:1:1", "JSONL, not JSON"),
        ("a.json", "[]", "a.json:1", "no record"),
        ("a.parquet", "text,label\na,1\n", "a.parquet", "no Parquet file"),
        ("a.parquet", b"PAR1broken", "a.parquet", "cannot be read"),
    ],
)
def test_broken_file_names_the_place_what_was_found_and_what_to_do(tmp_path, name, content, place, said):
    with pytest.raises(DataFileError, match=re.escape(said)) as caught:
        load_file(write(tmp_path, name, content))
    assert caught.value.message.startswith(f"{place}: ")
    assert caught.value.remedy


def test_missing_file_suggests_the_nearest_name(tmp_path):
    write(tmp_path, "reviews.csv", "text,label\na,1\n")
    with pytest.raises(DataError, match="no file") as caught:
        load_file(tmp_path / "review.csv")
    assert "reviews.csv" in caught.value.remedy


def test_name_that_ends_in_a_slash_is_a_folder_here_and_no_hub_set(tmp_path):
    assert is_local("tickets/")
    assert not is_local("owner/tickets")
    with pytest.raises(DataError, match="no file or folder 'tickets'"):
        load_file(tmp_path / "tickets")


def test_unknown_ending_lists_those_that_are_read(tmp_path):
    with pytest.raises(DataError, match="docx") as caught:
        load_file(write(tmp_path, "a.docx", "x"))
    assert ".parquet" in caught.value.remedy


def test_json_records_on_one_line_get_columns_in_their_ids(tmp_path):
    table = load_file(write(tmp_path, "a.json", '[{"text": "a", "label": 1}, {"text": "b", "label": [2]}]'))
    assert table.row_ids().to_list() == ["a.json:1:2", "a.json:1:29"]
    assert table.frame["label"].to_list() == ["1", "[2]"]


def test_jsonl_key_that_a_record_lacks_is_null(tmp_path):
    table = load_file(write(tmp_path, "a.jsonl", '{"text": "a"}\n\n{"text": "b", "label": true}\n'))
    assert table.frame["label"].to_list() == [None, "true"]
    assert table.frame[LINE].to_list() == [1, 3]


def test_parquet_numbers_rows_and_writes_lists_as_json(tmp_path):
    pl.DataFrame({"text": ["a", "b"], "label": [[1, 2], []]}).write_parquet(tmp_path / "a.parquet")
    table = load_file(tmp_path / "a.parquet")
    assert table.frame["label"].to_list() == ["[1, 2]", "[]"]
    assert table.row_ids().to_list() == ["a.parquet:1", "a.parquet:2"]


def test_folder_finds_splits_and_joins_shards(tmp_path):
    for name in ("train-00000-of-00002.csv", "train-00001-of-00002.csv", "dev.tsv"):
        mark = "\t" if name.endswith("tsv") else ","
        write(tmp_path, name, f"text{mark}label\na{mark}1\n")
    splits = load_folder(tmp_path)
    assert {split: len(tables) for split, tables in splits.items()} == {"train": 2, "validation": 1}


def test_folder_without_training_file_lists_what_it_holds(tmp_path):
    write(tmp_path, "reviews.csv", "text,label\na,1\n")
    with pytest.raises(DataError, match=r"no training file; it holds reviews\.csv"):
        load_folder(tmp_path)


def test_working_folder_without_training_file_is_named_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"the folder '\.' has no training file"):
        load_folder(Path())


def test_folder_with_two_training_formats_is_refused(tmp_path):
    write(tmp_path, "train.csv", "text,label\na,1\n")
    write(tmp_path, "train.tsv", "text\tlabel\na\t1\n")
    with pytest.raises(DataError, match="several train files"):
        load_folder(tmp_path)


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=20))
def test_reading_round_trips_in_every_format(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("roundtrip")
    frame = pl.DataFrame(rows, schema={"text": pl.String, "label": pl.String}, orient="row")
    frame.write_csv(folder / "a.csv", quote_style="always")
    frame.write_parquet(folder / "a.parquet")
    records = frame.to_dicts()
    (folder / "a.jsonl").write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    (folder / "a.json").write_text(json.dumps(records, indent=1), encoding="utf-8")
    for name in ("a.csv", "a.parquet", "a.jsonl", "a.json"):
        table = load_file(folder / name)
        assert table.frame.select("text", "label").rows() == frame.rows(), name
        assert table.row_ids().n_unique() == len(rows), name


def test_lists_of_class_ids_in_a_parquet_file_come_with_their_names(tmp_path):
    from datasets import ClassLabel, Dataset, Features, List, Value

    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=["joy", "anger", "neutral"]))})
    rows = {"text": ["a", "b", "c"], "labels": [[0, 2], [], [1]]}
    Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "train.parquet"))
    table = load_file(tmp_path / "train.parquet")
    assert table.frame["labels"].to_list() == ['["joy", "neutral"]', "[]", '["anger"]']
    assert table.label_order == {"labels": ("joy", "anger", "neutral")}
