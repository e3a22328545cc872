"""Data with two columns of texts: read in pairs where their names say so, never the first alone without a word."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from finetune30.config import DataConfig
from finetune30.data.loading import LoadedRows, load_rows
from finetune30.errors import DataFileError
from finetune30.problems import choose_problem

ROWS = 12


def save(path: Path, header: Sequence[str]) -> Path:
    """Write rows whose cells name their column; the last column is the label."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(header)
        for n in range(ROWS):
            cells = [f"some words of {name} in row {n}" for name in header[:-1]]
            writer.writerow([*cells, ("no", "yes")[n % 2]])
    return path


def load(path: Path, said: list[str] | None = None, **data: str) -> LoadedRows:
    config = DataConfig(dataset_name=str(path), **data)
    told = [] if said is None else said
    return load_rows(config, told.append, problem=choose_problem("auto"), num_labels=2)


def read(loaded: LoadedRows) -> tuple[str, str | None]:
    """Return which columns the texts came from, told by the cells."""
    row = loaded.rows.row(0, named=True)
    first, second = (row[name] and row[name].split(" of ")[1].split(" in row")[0] for name in ("text", "text_pair"))
    return first, second


USUAL = [
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question", "answer"),
    ("question", "context"),
    ("question", "passage"),
    ("query", "document"),
    ("text_a", "text_b"),
    ("question1", "question2"),
    ("Sentence 1", "Sentence 2"),
    ("text1", "text2"),
    ("Question_A", "Question_B"),
    ("text", "text_pair"),
    ("q1", "q2"),
    ("claim", "evidence"),
]


@pytest.mark.parametrize(("first", "second"), USUAL, ids=lambda name: name)
@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned"])
def test_usual_names_are_read_in_pairs_and_said(tmp_path: Path, first: str, second: str, turned: bool) -> None:
    header = [second, first, "label"] if turned else [first, second, "label"]
    loaded = load(save(tmp_path / "rows.csv", header))
    assert read(loaded) == (first, second)
    (found,) = (found for found in loaded.detected if found.found == f"the second text is the column {second!r}")
    assert found.key == "data.text_pair_column"
    assert "data.text_column alone reads one of them" in found.because


def test_text_column_alone_reads_one_text_and_says_that_the_other_is_not_read(tmp_path: Path) -> None:
    loaded = load(save(tmp_path / "rows.csv", ["premise", "hypothesis", "label"]), text_column="premise")
    assert read(loaded) == ("premise", None)
    (found,) = (found for found in loaded.detected if "is not read" in found.found)
    assert (found.found, found.key) == ("the column 'hypothesis' is not read", "data.text_pair_column")


def test_a_named_second_text_is_taken_and_nothing_is_guessed(tmp_path: Path) -> None:
    path = save(tmp_path / "rows.csv", ["text", "reply", "label"])
    loaded = load(path, text_pair_column="reply")
    assert read(loaded) == ("text", "reply")
    (found,) = (found for found in loaded.detected if found.found == "the second text is the column 'reply'")
    assert found.because == "data.text_pair_column names it"


def test_a_second_column_of_texts_under_another_name_is_never_left_out_without_a_word(tmp_path: Path) -> None:
    said: list[str] = []
    loaded = load(save(tmp_path / "rows.csv", ["body", "headline", "label"]), said)
    assert read(loaded) == ("body", None)
    assert (
        "data: the column 'headline' is not read: it holds texts as 'body' does "
        "(to say otherwise, set data.text_pair_column)" in said
    )
    assert read(load(tmp_path / "rows.csv", text_pair_column="headline")) == ("body", "headline")


@pytest.mark.parametrize(
    "cell",
    [
        lambda n: str(n),
        lambda n: f"https://example.org/a-long-address-of-a-page/{n}",
        lambda n: f"2026-11-{n % 28 + 1:02d} 10:00:00 UTC",
        lambda n: f'{{"key": "some words in an object {n}"}}',
        lambda n: ("en", "fr")[n % 2],
        lambda n: f"user{n}",
        lambda n: "",
        lambda n: "the same words in every row",
    ],
    ids=["number", "address", "time", "object", "language", "name", "nothing", "constant"],
)
def test_columns_that_hold_no_texts_are_none(tmp_path: Path, cell: object) -> None:
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "beside", "label"])
        for n in range(40):
            writer.writerow([f"some words of a text in row {n}", cell(n), ("no", "yes")[n % 2]])  # type: ignore[operator]
    assert [found.found for found in load(tmp_path / "rows.csv").detected if "is not read" in found.found] == []


def test_chinese_texts_are_texts_without_spaces(tmp_path: Path) -> None:
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "title", "label"])
        for n in range(40):
            writer.writerow([f"今天的天氣非常好我們一起去公園散步{n}", f"關於天氣與公園散步的第{n}篇文章", "ab"[n % 2]])
    assert [found.found for found in load(tmp_path / "rows.csv").detected if "is not read" in found.found] == [
        "the column 'title' is not read"
    ]


def test_several_second_texts_are_asked_about_and_each_way_out_works(tmp_path: Path) -> None:
    path = save(tmp_path / "rows.csv", ["question", "context", "answer", "label"])
    with pytest.raises(DataFileError) as caught:
        load(path)
    assert "'question' may be paired with 'answer' or 'context'" in caught.value.message
    assert caught.value.remedy == (
        "set data.text_pair_column to one of them, or data.text_column to 'question' to read it alone"
    )
    assert read(load(path, text_pair_column="context")) == ("question", "context")
    assert read(load(path, text_column="question")) == ("question", None)


def test_columns_that_nothing_tells_are_named_both(tmp_path: Path) -> None:
    path = save(tmp_path / "rows.csv", ["left", "right", "label"])
    with pytest.raises(DataFileError) as caught:
        load(path)
    assert caught.value.remedy.startswith(
        "set data.text_column to one of them, and data.text_pair_column to another where texts are pairs; "
    )
    assert read(load(path, text_column="left", text_pair_column="right")) == ("left", "right")
