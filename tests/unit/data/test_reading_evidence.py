"""What is said about columns and about quotation marks that take lines together, and that it holds the right words."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from finetune30.config import DataConfig
from finetune30.data.loading import LoadedRows, load_rows
from finetune30.data.prepare import prepare_data
from finetune30.data.questions import Asked, load_questions
from finetune30.data.sources.files import load_file
from finetune30.data.sources.options import NO_OPTIONS
from finetune30.problems import choose_problem
from finetune30.problems.shared.columns import TEXT_AND_LABEL
from finetune30.ui.messages import translate_message

TEXTS = [f"this is text number {n} of them" for n in range(40)]


def load(path: Path, problem: str = "auto", **data: Any) -> LoadedRows:
    config = DataConfig(dataset_name=str(path), **data)
    return load_rows(config, lambda _: None, problem=choose_problem(problem))


def save(path: Path, header: Sequence[str], width: int = 2) -> Path:
    """Write rows of texts and labels; columns between them count rows."""
    text = io.StringIO()
    rows = [[sentence, *[str(n)] * (width - 2), "ab"[n % 2]] for n, sentence in enumerate(TEXTS)]
    csv.writer(text).writerows([header, *rows])
    path.write_text(text.getvalue())
    return path


def told(loaded: LoadedRows) -> dict[str, tuple[str, str | None]]:
    return {found.found: (found.because, found.key) for found in loaded.detected}


def test_columns_of_usual_names_say_so_and_what_they_come_before(tmp_path: Path) -> None:
    found = told(load(save(tmp_path / "a.csv", ["text", "rating", "label"], 3)))
    usual = "its name is one that such columns usually have"
    assert found["the text is the column 'text'"] == (usual, "data.text_column")
    assert found["the label is the column 'label'"] == (f"{usual}, and comes before 'rating'", "data.label_column")
    rest = ("no setting names them, and they are told to be neither text nor label", None)
    assert found["columns that are not read: 'rating'"] == rest


def test_a_pair_of_usual_names_is_one_of_texts_only(tmp_path: Path) -> None:
    found = told(load(save(tmp_path / "a.csv", ["question", "answer"]), label_column="answer"))
    assert found["the text is the column 'question'"][0] == "its name is one that such columns usually have"


def test_columns_that_are_told_by_elimination_say_so(tmp_path: Path) -> None:
    found = told(load(save(tmp_path / "a.csv", ["what was said", "id", "verdict"], 3)))
    of_two = "of the two columns 'what was said', 'verdict', its cells are the shorter ones"
    assert found["the label is the column 'verdict'"] == (of_two, "data.label_column")
    assert found["the text is the column 'what was said'"] == ("it is the only column left", "data.text_column")


def test_columns_that_the_configuration_names_say_so(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", ["x", "y1", "z"], 3)
    found = told(load(path, text_column="x", label_column="z"))
    assert found["the text is the column 'x'"] == ("data.text_column names it", "data.text_column")
    assert found["the label is the column 'z'"] == ("data.label_column names it", "data.label_column")
    # What is said to be the way to say otherwise is one.
    assert load(path, text_column="y1", label_column="z").rows["text"][0] == "0"


def test_pairs_say_that_their_names_belong_together(tmp_path: Path) -> None:
    found = told(load(save(tmp_path / "a.csv", ["premise", "hypothesis", "label"], 3)))
    pair = "'premise' and 'hypothesis' are usual names of a pair; data.text_column alone reads one of them"
    assert found["the text is the column 'premise'"] == (pair, "data.text_column")
    assert found["the second text is the column 'hypothesis'"] == (pair, "data.text_pair_column")


def test_label_columns_are_named_as_what_they_are(tmp_path: Path) -> None:
    rows = "".join(f"this is text {n},{n % 2},{1 - n % 2}\n" for n in range(20))
    (tmp_path / "a.csv").write_text("text,toxic,kind\n" + rows)
    found = told(load(tmp_path / "a.csv", label_columns=["toxic", "kind"]))
    assert found["the label is the column 'toxic+kind'"] == ("data.label_columns names it", "data.label_columns")
    assert not any(name.startswith("columns that are not read") for name in found)


def test_lines_that_quotation_marks_take_together_are_said_with_numbers(tmp_path: Path) -> None:
    rows = [f'"{text}\nand more, of it",{"ab"[n % 2]}\n' if n in (3, 5) else f"{text},{'ab'[n % 2]}\n"
            for n, text in enumerate(TEXTS)]  # fmt: skip
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(rows))
    loaded = load(tmp_path / "a.csv")
    found = told(loaded)["lines of a.csv that were read as parts of quoted cells: 2"][0]
    assert "on a later line in rows: 2 (lines 6, 9)" in found
    assert "these lines would be rows: 42 instead of 40" in found
    (file,) = loaded.describe_files()
    assert (file["encoding"], file["separator"], file["quotes"]) == ("utf-8", ",", "around cells")
    assert file["lines"]["not_rows"]["inside_quoted_cell"] == {"count": 2, "first": [6, 9]}


def test_a_quotation_mark_of_the_text_that_is_written_twice_takes_no_line(tmp_path: Path) -> None:
    """The remedy of the words above, followed: the lines are rows then."""
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"one, of many\nthat are here",a\n"plain, and good",b\n')
    assert load_file(path).frame.height == 2
    path.write_text('text,label\n"""one"" of many",a\n"that are ""here""",a\n"plain, and good",b\n')
    assert load_file(path).frame["text"].to_list() == ['"one" of many', 'that are "here"', "plain, and good"]
    assert not any("quoted cells" in name for name in told(load(path)))


def test_lines_taken_together_are_said_of_questions_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text\n"one\ntwo"\nthree\n')
    said: list[str] = []
    questions = load_questions(tmp_path / "a.csv", Asked(TEXT_AND_LABEL[:1], None), {}, NO_OPTIONS, said.append)
    assert [question.text for question in questions] == ["one\ntwo", "three"]
    assert any("rows: 3 instead of 2" in words for words in said)


def test_the_record_of_a_training_holds_files_and_lines(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", ["text", "label"])
    path.write_text(path.read_text() + "\n\n")
    lines: list[str] = []
    config = DataConfig(dataset_name=str(path), train_samples=None, eval_samples=None)
    data = prepare_data(config, problem=choose_problem("auto"), num_labels=2, seed=0, log=lines.append)
    (entry,) = data.ledger["lines"]
    assert (entry["file"], entry["physical"], entry["rows"]) == ("a.csv", 43, 40)
    assert entry["not_rows"] == {"header": {"count": 1, "first": [1]}, "blank": {"count": 2, "first": [42, 43]}}
    assert data.report["files"][0]["lines"] == entry
    assert data.report["ledger"]["lines"] == [entry]
    assert any("the text is the column 'text'" in line for line in lines)


@pytest.mark.parametrize("header", [["text", "a", "label"], ["x", "id", "z"], ["premise", "hypothesis", "label"]])
def test_what_is_said_about_files_and_columns_is_said_in_chinese(header: list[str], tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", header, 3)
    path.write_text("sep=,\n" + path.read_text().replace(TEXTS[7], f'"{TEXTS[7]}\nof this, too"'))
    loaded = load(path)
    said = {words for found in loaded.detected for words in (found.found, found.because)}
    said |= {note for file in loaded.describe_files() for note in file["notes"]}
    assert "cells separated by ',', as line 1 says" in said
    assert [words for words in said if translate_message("zh", words) is None] == []


def test_notes_about_files_are_said_in_chinese(tmp_path: Path) -> None:
    contents = {
        "a.tsv": '"good\t1\nbad\t0\nfine"\t1\nrude\t0\n',
        "b.csv": "text,label,,\na,1,,,\n\ufeffb,0,,\n",
        "c.csv": 'text;label\n"say \\"";1\n"plain";0\n"say \\"";1\n',
        "d.jsonl": '{"text":\n"half \\ud83d", "label": 1}\n',
        "e.json": json.dumps({"text": ["a", "b"], "label": ["0", "1"]}),
    }
    (tmp_path / "a.tsv").write_text("sentence\tlabel\n" + contents.pop("a.tsv"))
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    notes = {note for path in tmp_path.iterdir() for note in load_file(path).notes}
    assert len(notes) >= 8
    assert [note for note in notes if translate_message("zh", note) is None] == []
