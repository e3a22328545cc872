"""JSON as annotation tools, pandas and scripts write it, and JSON that cannot be rows."""

from __future__ import annotations

import json
from pathlib import Path

import pandas
import pytest

from finetune30.data.sources.files import load_file
from finetune30.errors import DataFileError

ROWS = [("good", "pos"), ("bad", "neg")]


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("orient", ["records", "split", "table", "index", "columns"])
def test_orientations_of_pandas_are_read(orient: str, tmp_path: Path) -> None:
    frame = pandas.DataFrame(ROWS, columns=["text", "label"])
    frame.to_json(tmp_path / "a.json", orient=orient)
    table = load_file(tmp_path / "a.json")
    assert table.frame.select("text", "label").rows() == ROWS


def test_orientation_that_names_no_columns_is_refused_with_one_that_works(tmp_path: Path) -> None:
    pandas.DataFrame(ROWS, index=["a", "b"], columns=["text", "label"]).to_json(tmp_path / "a.json", orient="index")
    with pytest.raises(DataFileError, match="no array of objects") as caught:
        load_file(tmp_path / "a.json")
    assert 'orient="records"' in caught.value.remedy


def test_list_a_column_is_read(tmp_path: Path) -> None:
    table = load_file(write(tmp_path, "a.json", '{"text": ["good", "bad"], "label": [1, 0]}'))
    assert table.frame.select("text", "label").rows() == [("good", "1"), ("bad", "0")]


def test_objects_that_span_lines_are_read_with_the_lines_they_begin_on(tmp_path: Path) -> None:
    content = "".join(json.dumps({"text": text, "label": label}, indent=2) + "\n" for text, label in ROWS)
    table = load_file(write(tmp_path, "a.jsonl", content))
    assert table.frame.select("text", "label").rows() == ROWS
    assert table.row_ids().to_list() == ["a.jsonl:1", "a.jsonl:5"]
    assert table.notes == ("objects span lines from line 1 on",)


def test_object_that_is_cut_off_at_the_end_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="invalid JSON") as caught:
        load_file(write(tmp_path, "a.jsonl", '{"text": "a"}\n{"text": "b"'))
    assert caught.value.message.startswith("a.jsonl:2:13: ")


def test_byte_order_mark_in_the_middle_is_taken_away_and_said(tmp_path: Path) -> None:
    table = load_file(write(tmp_path, "a.jsonl", '{"text": "a"}\n\ufeff{"text": "b"}\n'))
    assert table.frame["text"].to_list() == ["a", "b"]
    assert table.notes == ("a file was appended at line 2: a byte order mark stands there",)


def test_half_of_an_emoji_becomes_a_replacement_character_and_is_said(tmp_path: Path) -> None:
    content = '{"text": "cut \\ud83d", "label": 1}\n{"text": "whole \\ud83d\\ude00", "label": 0}\n'
    table = load_file(write(tmp_path, "a.jsonl", content))
    assert table.frame["text"].to_list() == ["cut \ufffd", "whole \U0001f600"]
    assert table.notes == ("1 cell holds half of a character (a lone surrogate); U+FFFD stands for it",)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ("[" * 200_000 + "]" * 200_000, "nested too deeply"),
        ('{"text": ' + "[" * 200_000 + "]" * 200_000 + "}", "nested too deeply"),
        ('{"text": ' + "9" * 5_000 + "}", "too many digits"),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_json_that_python_cannot_hold_is_refused_by_place(record: str, said: str, name: str, tmp_path: Path) -> None:
    wrapped = f'[{{"text": "a"}},\n{record}]' if name == "a.json" else f'{{"text": "a"}}\n{record}\n'
    with pytest.raises(DataFileError, match=said) as caught:
        load_file(write(tmp_path, name, wrapped))
    assert caught.value.message.startswith(f"{name}:2:1: ")


def test_rows_with_a_key_of_their_own_each_are_refused_at_once(tmp_path: Path) -> None:
    content = "".join(f'{{"key{number}": 1}}\n' for number in range(6_000))
    with pytest.raises(DataFileError, match="at most 1,000 are read"):
        load_file(write(tmp_path, "a.jsonl", content))


def test_tasks_of_label_studio_become_rows_with_their_answers(tmp_path: Path) -> None:
    def task(text: str, *choices: list[str], cancelled: bool = False) -> dict[str, object]:
        results = [
            {
                "was_cancelled": cancelled,
                "result": [{"from_name": "mood", "value": {"choices": given}}],
            }
            for given in choices
        ]
        return {"id": 1, "annotations": results, "data": {"text": text}, "predictions": []}

    tasks = [
        task("good", ["pos"]),
        task("both", ["pos", "neg"]),
        task("agreed", ["neg"], ["neg"]),
        task("differ", ["neg"], ["pos"]),
        task("cancelled", ["neg"], cancelled=True),
        task("open"),
    ]
    table = load_file(write(tmp_path, "a.json", json.dumps(tasks, indent=1)))
    assert table.frame["text"].to_list() == ["good", "both", "agreed", "differ", "cancelled", "open"]
    assert table.frame["mood"].to_list() == ["pos", '["pos", "neg"]', "neg", None, None, None]
    assert "annotators differ in 1 tasks, which have no answer here" in table.notes
    assert "2 tasks have no annotation" in table.notes


def test_export_of_doccano_keeps_its_lists(tmp_path: Path) -> None:
    content = '{"id": 1, "text": "good", "label": ["pos"], "Comments": []}\n{"id": 2, "text": "bad", "label": []}\n'
    table = load_file(write(tmp_path, "a.jsonl", content))
    assert table.frame["label"].to_list() == ['["pos"]', "[]"]
