"""What models of the three kinds answer: in predictions.parquet, to questions, and in files of `ft30 predict`.

Expected values come from PEFT and transformers alone, names from the rows themselves: the models have learnt them.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from finetune30.data.questions import NO_TOKENS, Asked, Question
from finetune30.modeling.devices import choose_placement
from finetune30.modeling.predictor import Predictor
from finetune30.modeling.saved_targets import load_targets
from finetune30.problems.trainables import load_trainable
from finetune30.service.models.predict import Answered, LoadedModel, answer_questions
from support.kinds import KINDS, MULTI_LABEL, REGRESSION, SINGLE_LABEL, Kind, KindsLab
from support.plain_answers import plain_logits, sigmoid, softmax

pytestmark = pytest.mark.integration

NAMES = ["anger", "middle", "zest"]
#: The models' values are within this of what they have learnt.
LEARNT = 0.5
#: 36 decisions are enough for three bins, 12 are not.
RELIABILITY = "Reliability (believable: as often right as sure)"
RISK = "Wrong answers, where only the surest are given"


def model_of(lab: KindsLab, kind: Kind) -> Path:
    return lab.run_folder(kind.name) / "artifacts" / "final_model"


def rows_of(lab: KindsLab, kind: Kind) -> dict[str, dict[str, str]]:
    """Return the evaluation rows by the names that runs give them: the file and the line."""
    name = f"{kind.name}-eval.csv"
    with (lab.folder / name).open(encoding="utf-8", newline="") as stream:
        return {f"{name}:{number}": row for number, row in enumerate(csv.DictReader(stream), start=2)}


def predictions_of(lab: KindsLab, kind: Kind) -> list[dict[str, Any]]:
    return list(pq.read_table(lab.run_folder(kind.name) / "predictions.parquet").to_pylist())


@pytest.mark.parametrize(
    ("kind", "shares"), [(SINGLE_LABEL, softmax), (MULTI_LABEL, sigmoid), (REGRESSION, list)], ids=list(KINDS)
)
def test_predictions_hold_every_row_with_the_shares_of_the_saved_model(
    kinds_lab: KindsLab, kind: Kind, shares: Callable[[list[float]], list[float]]
) -> None:
    rows, predictions = rows_of(kinds_lab, kind), predictions_of(kinds_lab, kind)
    assert [entry["row_id"] for entry in predictions] == list(rows)
    outputs = 1 if kind is REGRESSION else len(NAMES)
    logits = plain_logits(model_of(kinds_lab, kind), [row["text"] for row in rows.values()], outputs=outputs)
    for entry, known in zip(predictions, logits, strict=True):
        assert entry["probabilities"] == pytest.approx(shares(known), abs=1e-4), entry


@pytest.mark.parametrize(
    ("kind", "figure", "pieces"),
    [
        (
            SINGLE_LABEL,
            "Accuracy | 100.00 % | 75.75 % to 100.00 % | 12 | 33.33 %",
            ["Each label", "Confusion matrix", RISK],
        ),
        (MULTI_LABEL, "Exact match | 100.00 % | 75.75 % to 100.00 % | 12 |", ["Each label", RELIABILITY, RISK]),
        # Four rows each of 2.5, -1.5 and 0.5, as many of each in the training: its mean is 0.5, the squares 4, 4 and 0.
        (REGRESSION, "2.667 (always the training rows' mean) |", ["Residuals (prediction - target)"]),
    ],
    ids=list(KINDS),
)
def test_card_and_details_show_the_result_of_the_kind(
    kinds_lab: KindsLab, kind: Kind, figure: str, pieces: list[str]
) -> None:
    card = (model_of(kinds_lab, kind) / "README.md").read_text(encoding="utf-8")
    assert figure in card
    assert [line.removeprefix("### ") for line in card.splitlines() if line.startswith("### ")] == pieces
    details = kinds_lab.ft30("runs", "show", kind.name).stdout.splitlines()
    assert [line.strip() for line in details if line.strip() in pieces] == pieces


def test_single_label_predictions_are_the_names_that_the_rows_bear(kinds_lab: KindsLab) -> None:
    rows = rows_of(kinds_lab, SINGLE_LABEL)
    for entry in predictions_of(kinds_lab, SINGLE_LABEL):
        label = rows[entry["row_id"]]["label"]
        assert (entry["label"], entry["prediction"]) == (label, label)
        assert NAMES[entry["probabilities"].index(max(entry["probabilities"]))] == label


def test_multi_label_predictions_are_the_labels_over_one_half(kinds_lab: KindsLab) -> None:
    rows = rows_of(kinds_lab, MULTI_LABEL)
    for entry in predictions_of(kinds_lab, MULTI_LABEL):
        labels = rows[entry["row_id"]]["label"].split("|")
        assert (entry["label"], entry["prediction"]) == (labels, labels)
        assert [name for name, share in zip(NAMES, entry["probabilities"], strict=True) if share > 0.5] == labels


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_outcomes_say_what_came_of_every_row(kinds_lab: KindsLab, kind: Kind) -> None:
    weak = kinds_lab.train(kind, f"{kind.name}-weak", num_train_epochs=1)  # it gets rows wrong
    rows, predictions = rows_of(kinds_lab, kind), pq.read_table(weak / "predictions.parquet").to_pylist()
    asked = {row_id: row["label"] for row_id, row in rows.items()}
    if kind is REGRESSION:
        expected = [(entry["prediction"] - float(asked[entry["row_id"]])) ** 2 for entry in predictions]
        assert [entry["outcome"] for entry in predictions] == pytest.approx(expected)
        return
    given = ["|".join(entry["prediction"]) if kind is MULTI_LABEL else entry["prediction"] for entry in predictions]
    expected = [name == asked[entry["row_id"]] for name, entry in zip(given, predictions, strict=True)]
    assert [entry["outcome"] for entry in predictions] == expected
    assert False in expected


def test_regression_predictions_are_the_values_that_were_learnt(kinds_lab: KindsLab) -> None:
    rows = rows_of(kinds_lab, REGRESSION)
    for entry in predictions_of(kinds_lab, REGRESSION):
        label = float(rows[entry["row_id"]]["label"])
        assert entry["label"] == label
        assert entry["prediction"] == pytest.approx(label, abs=LEARNT)
        assert entry["probabilities"] == [entry["prediction"]]


def ask(lab: KindsLab, kind: Kind, questions: list[Question], batch_size: int = 2) -> list[Answered]:
    folder = model_of(lab, kind)
    described = load_targets(folder)
    problem = load_trainable(described["problem_type"], described["targets"])
    predictor = Predictor(folder, choose_placement("cpu", "fp32"), problem.load_saved)
    return answer_questions(LoadedModel(predictor, problem, Asked((), None)), questions, batch_size)


def questions_of(kind: Kind) -> tuple[list[Question], list[str]]:
    """Return new texts of different lengths, and what each ought to be called."""
    texts = [f"the film was {mark} {mark}{' slow again' * number}" for number, mark in enumerate(kind.marks)]
    return [Question(text, row_id=f"asked:{n}") for n, text in enumerate(texts)], list(kind.marks.values())


@pytest.mark.parametrize("kind", [SINGLE_LABEL, MULTI_LABEL], ids=lambda kind: kind.name)
def test_questions_are_answered_with_the_names_that_were_learnt(kinds_lab: KindsLab, kind: Kind) -> None:
    questions, names = questions_of(kind)
    answers = ask(kinds_lab, kind, questions)
    assert [(answer.question.text, answer.question.row_id) for answer in answers] == [
        (q.text, q.row_id) for q in questions
    ]
    assert [answer.as_dict()["labels"] for answer in answers] == [name.split("|") for name in names]
    shares = softmax if kind is SINGLE_LABEL else sigmoid
    for answer, logits in zip(
        answers, plain_logits(model_of(kinds_lab, kind), [q.text for q in questions], outputs=3), strict=True
    ):
        assert "value" not in answer.as_dict()
        probabilities = answer.as_dict()["probabilities"]
        assert list(probabilities) == NAMES
        assert list(probabilities.values()) == pytest.approx(shares(logits), abs=1e-4)


def test_regression_answers_with_the_value_alone(kinds_lab: KindsLab) -> None:
    questions, values = questions_of(REGRESSION)
    answers = ask(kinds_lab, REGRESSION, questions)
    assert [answer.as_dict()["value"] for answer in answers] == pytest.approx(
        [float(value) for value in values], abs=LEARNT
    )
    known = plain_logits(model_of(kinds_lab, REGRESSION), [question.text for question in questions], outputs=1)
    assert [[answer.as_dict()["value"]] for answer in answers] == [pytest.approx(logits, abs=1e-4) for logits in known]
    assert set(answers[0].as_dict()) == {"row_id", "text", "value"}


def test_pairs_are_read_together(kinds_lab: KindsLab) -> None:
    questions = [Question("it was", "great great"), Question("never", "awful awful again")]
    answers = ask(kinds_lab, SINGLE_LABEL, questions)
    texts, pairs = [q.text for q in questions], [str(q.text_pair) for q in questions]
    known = plain_logits(model_of(kinds_lab, SINGLE_LABEL), texts, pairs, outputs=3)
    for answer, question, logits in zip(answers, questions, known, strict=True):
        assert answer.question.text_pair == question.text_pair
        assert list(answer.as_dict()["probabilities"].values()) == pytest.approx(softmax(logits), abs=1e-4)


# --- files of `ft30 predict`


def load_rows(path: Path) -> list[dict[str, Any]]:
    """Read an answer file without finetune30."""
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    with path.open(encoding="utf-8", newline="") as stream:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in stream]
        return [dict(row) for row in csv.DictReader(stream)]


def predict(lab: KindsLab, kind: Kind, file: Path, output: Path, *options: str) -> list[dict[str, Any]]:
    """Answer a file into a file and return what is there."""
    said = lab.ft30("predict", kind.name, "--file", str(file), "--output", str(output), *options).stdout
    rows = load_rows(output)
    assert said == f"{len(rows)} answer{'s' * (len(rows) != 1)}: {output}\n"
    return rows


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_answers_in_a_file_are_those_on_standard_output(kinds_lab: KindsLab, tmp_path: Path, kind: Kind) -> None:
    file = kinds_lab.folder / f"{kind.name}-eval.csv"
    rows = predict(kinds_lab, kind, file, tmp_path / "answers.parquet")
    lines = kinds_lab.ft30("predict", kind.name, "--file", str(file), "--json").stdout.splitlines()
    for row, told in zip(rows, map(json.loads, lines), strict=True):
        assert (row["row_id"], row["text"]) == (told["row_id"], told["text"])
        if kind is REGRESSION:
            assert row["value"] == pytest.approx(told["value"])
            continue
        assert row["prediction"] == "|".join(told["labels"])
        assert {name: row[f"p_{name}"] for name in NAMES} == pytest.approx(told["probabilities"])


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_file_is_answered_into_a_file_that_can_be_asked_again(
    kinds_lab: KindsLab, tmp_path: Path, kind: Kind, ending: str
) -> None:
    asked = kinds_lab.folder / f"{kind.name}-eval.csv"
    known = rows_of(kinds_lab, kind)
    first = tmp_path / f"answers{ending}"
    answers = predict(kinds_lab, kind, asked, first)
    assert [(row["row_id"], row["text"]) for row in answers] == [(name, row["text"]) for name, row in known.items()]
    labels = [row["label"] for row in known.values()]
    if kind is REGRESSION:
        assert [float(row["value"]) for row in answers] == pytest.approx(list(map(float, labels)), abs=LEARNT)
    else:
        assert [row["prediction"] for row in answers] == labels
    again = predict(kinds_lab, kind, first, tmp_path / f"again{ending}", "--text_column", "text")
    # The answers of before come along under names of their own, as text where the format has only that.
    given = ("row_id", *(name for name in answers[0] if name not in ("row_id", "text", "text_pair", "label")))
    unnamed = [{name: value for name, value in row.items() if name != "row_id"} for row in answers]
    assert [{name: row[name] for name in unnamed[0]} for row in again] == unnamed
    assert set(again[0]) - set(answers[0]) >= {f"file_{name}" for name in given}
    assert [row["file_row_id"] for row in again] == [row["row_id"] for row in answers]
    assert all(row["row_id"].startswith(f"answers{ending}:") for row in again)


def test_a_text_file_is_asked_line_by_line(kinds_lab: KindsLab, tmp_path: Path) -> None:
    file = tmp_path / "new.txt"
    file.write_text("\ufeffthe film was great great\n\n  the film was awful awful  \n", encoding="utf-8")
    answers = predict(kinds_lab, SINGLE_LABEL, file, tmp_path / "answers.csv")
    assert [(row["row_id"], row["text"], row["prediction"]) for row in answers] == [
        ("line:1", "the film was great great", "zest"),
        ("line:2", "", ""),
        ("line:3", "the film was awful awful", "anger"),
    ]
    assert [row["no_answer"] for row in answers] == ["", NO_TOKENS, ""]


def test_standard_input_is_answered_as_a_file_is(kinds_lab: KindsLab, tmp_path: Path) -> None:
    content = "\ufeffthe film was great great\r\n\r\nthe film was awful awful\r\n"
    file = tmp_path / "new.txt"
    file.write_bytes(content.encode("utf-16-le"))
    by_file = kinds_lab.ft30("predict", SINGLE_LABEL.name, "--file", str(file), "--json")
    with file.open("rb") as stream:
        command = [sys.executable, "-m", "finetune30", "predict", SINGLE_LABEL.name, "--json"]
        environment = {**os.environ, "PYTHONPATH": kinds_lab.server.python_path}
        by_stream = subprocess.run(
            command, stdin=stream, capture_output=True, check=True, cwd=kinds_lab.folder, env=environment
        )
    lines = by_stream.stdout.decode().splitlines()
    assert lines == by_file.stdout.splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer.get("labels") for answer in answers] == [["zest"], None, ["anger"]]
    assert answers[1]["no_answer"]["code"] == "no_tokens"
    assert b"1 of 3 texts have no answer" in by_stream.stderr


def test_a_text_that_says_nothing_gets_no_class(kinds_lab: KindsLab) -> None:
    for text in ("", "  ", "\u200b", "\u0301"):
        said = kinds_lab.ft30("predict", SINGLE_LABEL.name, text).stdout
        assert said.startswith(f"(no answer: {NO_TOKENS})"), repr(text)


def test_other_columns_of_a_file_come_along(kinds_lab: KindsLab, tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("id,prediction,text\n007,mine,the film was great great\n", encoding="utf-8")
    (answer,) = predict(kinds_lab, SINGLE_LABEL, file, tmp_path / "answers.csv")
    assert (answer["id"], answer["prediction"], answer["file_prediction"]) == ("007", "zest", "mine")
    (line,) = kinds_lab.ft30("predict", SINGLE_LABEL.name, "--file", str(file), "--json").stdout.splitlines()
    assert json.loads(line)["columns"] == {"id": "007", "prediction": "mine"}


def test_pairs_for_a_model_of_single_texts_are_refused_with_what_to_leave_out(
    kinds_lab: KindsLab, tmp_path: Path
) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("left,right\nthe film was,great great\n", encoding="utf-8")
    asked = ("--file", str(file), "--text_column", "left", "--text_pair_column", "right")
    for options in (asked, ("the film was great", "--text_pair", "great")):
        ended = kinds_lab.server.run("predict", SINGLE_LABEL.name, *options, cwd=kinds_lab.folder)
        assert ended.returncode == 1
        assert "the model was trained on single texts" in ended.stderr
        assert "leave --text_pair out, or --text_pair_column" in ended.stderr
    answers = predict(kinds_lab, SINGLE_LABEL, file, tmp_path / "answers.csv", "--text_column", "left")
    assert [(row["text"], row["right"]) for row in answers] == [("the film was", "great great")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--file", "latin.txt"), "latin.txt:2:4: byte 9 (0xe9) is not UTF-8"),
        (("fine", "--file", "columns.csv"), "texts and --file cannot both be asked"),
        (("--file", "nothing.txt"), "there is no file 'nothing.txt'"),
        (("--file", "nothing.csv"), "there is no file 'nothing.csv'"),
        (("--file", "columns.csv", "--text_column", "words"), "'words'"),
        (("fine", "--output", "answers.xlsx"), "--output answers.xlsx: '.xlsx' is not written"),
    ],
)
def test_files_that_cannot_be_read_or_written_are_refused_in_plain_words(
    kinds_lab: KindsLab, options: tuple[str, ...], message: str
) -> None:
    (kinds_lab.folder / "latin.txt").write_bytes(b"great\ncaf\xe9\n")
    (kinds_lab.folder / "columns.csv").write_text("text\ngreat\n", encoding="utf-8")
    ended = kinds_lab.server.run("predict", SINGLE_LABEL.name, *options, cwd=kinds_lab.folder)
    assert ended.returncode in (1, 2)
    assert message in ended.stderr
    assert "Try: " in ended.stderr
    assert "unexpected" not in ended.stderr
    assert not ended.stdout
