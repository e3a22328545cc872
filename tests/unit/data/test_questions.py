"""Questions from arguments, standard input and files: one reader, the columns of the training, nothing left out."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from finetune30.data.questions import (
    Asked,
    Question,
    load_arguments,
    load_questions,
    load_stream,
    read_question_file,
)
from finetune30.data.sources.options import FileOptions
from finetune30.errors import DataFileError, UsageError
from finetune30.problems.shared.columns import TEXT, TEXT_PAIR

CHINESE = "房間又小又髒，服務人員態度很差，完全不推薦大家來住"
FRENCH = "La chambre était très sale, le café même pas servi à côté, déçu de l’accueil réservé, répété, forêt, été, là"
LINES = ["the first", "", "  the third  ", "caf\u00e9"]
SINGLE = Asked((TEXT, TEXT_PAIR), {"text": "review"})
PAIRS = Asked((TEXT, TEXT_PAIR), {"text": "premise", "text_pair": "hypothesis"})
UNKNOWN = Asked((TEXT, TEXT_PAIR), None)


def texts_of(questions: list[Question]) -> list[tuple[str | None, str]]:
    return [(question.row_id, question.text) for question in questions]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "open"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_every_line_is_a_question_with_its_number_in_a_file_and_on_standard_input(
    tmp_path: Path, codec: str, end: str, last: bool
) -> None:
    content = (end.join(LINES) + (end if last else "")).encode(codec)
    expected = [("line:1", "the first"), ("line:2", ""), ("line:3", "the third"), ("line:4", "café")]
    assert texts_of(load_stream(io.BytesIO(content))) == expected
    path = tmp_path / "asked.txt"
    path.write_bytes(content)
    assert texts_of(load_questions(path, UNKNOWN, {}, FileOptions())) == expected


def test_nothing_asked_is_no_question_and_blank_lines_are_some() -> None:
    assert load_stream(io.BytesIO(b"")) == []
    assert texts_of(load_stream(io.BytesIO(b"\n \n"))) == [("line:1", ""), ("line:2", "")]
    assert texts_of(load_stream(io.BytesIO(b"a\n "))) == [("line:1", "a"), ("line:2", "")]


@pytest.mark.parametrize(("text", "codec"), [(CHINESE, "big5"), (CHINESE[:12] * 3, "gb18030"), (FRENCH, "cp1252")])
def test_standard_input_is_decoded_as_files_are(tmp_path: Path, text: str, codec: str) -> None:
    said: dict[str, list[str]] = {"stream": [], "file": []}
    path = tmp_path / "asked.txt"
    try:
        path.write_bytes(text.encode(codec))
    except UnicodeEncodeError:
        pytest.skip(f"{codec} has no letters for it")
    outcomes = []
    for name in said:
        try:
            found = (
                load_stream(io.BytesIO(path.read_bytes()), None, said[name].append)
                if name == "stream"
                else load_questions(path, UNKNOWN, {}, FileOptions(), said[name].append)
            )
            outcomes.append(texts_of(found))
        except DataFileError as error:
            outcomes.append([(None, error.message.partition(": ")[2])])
    assert outcomes[0] == outcomes[1]
    assert texts_of(load_stream(io.BytesIO(path.read_bytes()), codec)) == [("line:1", text)]


def test_big5_is_recognised_on_standard_input_and_said() -> None:
    said: list[str] = []
    (question,) = load_stream(io.BytesIO(CHINESE.encode("big5")), None, said.append)
    assert question.text == CHINESE
    assert said[0].startswith("standard input: read as cp950 (Big5")


def test_a_byte_of_an_argument_that_is_no_text_is_decoded_or_refused_with_the_flag() -> None:
    argument = b"caf\xe9".decode("utf-8", "surrogateescape")
    with pytest.raises(DataFileError) as caught:
        load_arguments(["fine", argument])
    assert (caught.value.file, caught.value.line, caught.value.column) == ("text 2", 1, 4)
    assert caught.value.remedy == "set --encoding to cp1252 if that is right, or save the file as UTF-8"
    assert texts_of(load_arguments(["fine", argument], encoding="cp1252")) == [(None, "fine"), (None, "café")]


def test_second_texts_are_given_once_for_each_text() -> None:
    assert load_arguments(["a", "b"], ["c", "d"]) == [Question("a", "c"), Question("b", "d")]
    with pytest.raises(UsageError, match="2 texts but 1 second text"):
        load_arguments(["a", "b"], ["c"])


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_file_is_read_from_the_columns_of_the_training_and_its_others_come_along(tmp_path: Path) -> None:
    rows = [{"id": "007", "text": "an older text", "review": f"review {n}", "note": None} for n in range(2)]
    read = read_question_file(save(tmp_path / "new.jsonl", rows), SINGLE, {}, FileOptions())
    assert [(q.text, q.text_pair, dict(q.others)) for q in read.questions] == [
        (f"review {n}", None, {"id": "007", "text": "an older text", "note": None}) for n in range(2)
    ]
    assert (dict(read.columns), list(read.notes)) == ({"text": "review"}, [])
    assert read.questions[1].row_id == "new.jsonl:2"


def test_a_named_column_comes_before_that_of_the_training(tmp_path: Path) -> None:
    path = save(tmp_path / "new.jsonl", [{"review": "a", "other": "b"}])
    (question,) = load_questions(path, SINGLE, {"text_column": "other"}, FileOptions())
    assert (question.text, question.others) == ("b", {"review": "a"})


def test_a_file_without_the_column_of_the_training_is_detected_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    path = save(tmp_path / "new.jsonl", [{"id": "1", "text": "a text"}])
    (question,) = load_questions(path, SINGLE, {}, FileOptions(), said.append)
    assert question.text == "a text"
    assert said == [
        "there is no column 'review' as in the training: text is read from 'text' (to say otherwise, name text_column)"
    ]


def test_a_model_of_single_texts_never_takes_a_pair_that_the_file_happens_to_have(tmp_path: Path) -> None:
    path = save(tmp_path / "new.jsonl", [{"review": "a", "text": "b", "text_pair": "c"}])
    (question,) = load_questions(path, SINGLE, {}, FileOptions())
    assert (question.text, question.text_pair) == ("a", None)


def test_a_model_of_pairs_reads_both_columns(tmp_path: Path) -> None:
    path = save(tmp_path / "new.jsonl", [{"hypothesis": "b", "premise": "a", "id": "1"}])
    (question,) = load_questions(path, PAIRS, {}, FileOptions())
    assert (question.text, question.text_pair, question.others) == ("a", "b", {"id": "1"})
    other = save(tmp_path / "other.jsonl", [{"sentence1": "a", "sentence2": "b"}])
    (question,) = load_questions(other, PAIRS, {}, FileOptions())
    assert (question.text, question.text_pair) == ("a", "b")


def test_a_column_that_is_not_there_is_named_with_the_flag(tmp_path: Path) -> None:
    path = save(tmp_path / "new.jsonl", [{"review": "a", "other": "b"}])
    with pytest.raises(DataFileError) as caught:
        load_questions(path, SINGLE, {"text_column": "othr"}, FileOptions())
    assert caught.value.remedy == "set --text_column to 'other'"
    (question,) = load_questions(path, SINGLE, {"text_column": "other"}, FileOptions())
    assert question.text == "b"
