"""A model of pairs, asked in every way: with two texts it answers as PEFT does, with one it says what it wants."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.kinds import KindsLab
from support.plain_answers import plain_logits, softmax

pytestmark = pytest.mark.integration

NAMES = ["entailment", "neutral"]
HEADER = ["nr", "premise", "hypothesis", "label"]
GIVE = "give --text_pair TEXT for each text, or --file FILE with a column for each of the two"


def row(number: int) -> list[Any]:
    return [
        number,
        f"the film was good {'again ' * (number % 3)}",
        f"it was {('good', 'bad')[number % 2]}",
        NAMES[number % 2],
    ]


@pytest.fixture(scope="module")
def pairs_run(kinds_lab: KindsLab) -> Path:
    """A run trained on pairs that were told from the names of their columns."""
    for name, count in (("pairs-train.csv", 48), ("pairs-eval.csv", 8)):
        with (kinds_lab.folder / name).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([HEADER, *map(row, range(count))])
    tree: dict[str, Any] = {
        "experiment_name": "pairs",
        "model": {"name": "base", "num_labels": 2},
        "lora": {"target_modules": "auto", "r": 2},
        "data": {"dataset_name": "pairs-train.csv", "eval_file": "pairs-eval.csv", "max_length": 24},
        "training": {"device": "cpu", "precision": "fp32", "num_train_epochs": 1},
    }
    tree["data"]["gate"] = {"mode": "report"}
    (kinds_lab.folder / "pairs.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    said = kinds_lab.ft30("train", "--config", "pairs.yaml").stderr
    assert "'premise' and 'hypothesis' are usual names of a pair" in said
    return kinds_lab.run_folder("pairs")


def shares_of(run: Path, texts: list[str], pairs: list[str]) -> list[Any]:
    logits = plain_logits(run / "artifacts" / "final_model", texts, pairs, outputs=2)
    return [pytest.approx(softmax(values), abs=1e-4) for values in logits]


def test_the_published_model_says_how_its_texts_were_read(pairs_run: Path) -> None:
    described = json.loads((pairs_run / "artifacts" / "final_model" / "labels.json").read_text(encoding="utf-8"))
    assert described["reading"] == {
        "columns": {"text": "premise", "text_pair": "hypothesis"},
        "marks_are_text": True,
        "allow_empty": False,
    }


@pytest.mark.parametrize("asked", [("the film was good",), ("--file", "single.csv"), ("--file", "lines.txt")])
def test_single_texts_are_refused_and_what_is_said_works(
    kinds_lab: KindsLab, pairs_run: Path, asked: tuple[str, ...]
) -> None:
    (kinds_lab.folder / "single.csv").write_text("premise,nr\nthe film was good,1\n", encoding="utf-8")
    (kinds_lab.folder / "lines.txt").write_text("the film was good\n", encoding="utf-8")
    ended = kinds_lab.server.run("predict", "pairs", *asked, cwd=kinds_lab.folder)
    assert ended.returncode == 1
    assert "the model was trained on pairs of texts ('premise' and 'hypothesis')" in ended.stderr
    assert f"Try: {GIVE}" in ended.stderr
    assert not ended.stdout
    said = kinds_lab.ft30("predict", "pairs", "the film was good", "--text_pair", "it was bad", "--json").stdout
    answer = json.loads(said)
    assert list(answer["probabilities"].values()) == shares_of(pairs_run, ["the film was good"], ["it was bad"])[0]


def test_a_second_text_for_a_model_of_single_texts_is_left_out(kinds_lab: KindsLab) -> None:
    asked = ("predict", "single-label", "the film was great great slow", "--json")
    ended = kinds_lab.server.run(*asked, "--text_pair", "it was bad", cwd=kinds_lab.folder)
    assert ended.returncode == 1
    assert "the model was trained on single texts" in ended.stderr
    assert "leave --text_pair out" in ended.stderr
    assert json.loads(kinds_lab.ft30(*asked).stdout)["labels"] == ["zest"]


def test_a_file_is_read_from_the_columns_of_the_training(kinds_lab: KindsLab, pairs_run: Path) -> None:
    path = kinds_lab.folder / "new.csv"
    path.write_text(
        "id,text,hypothesis,premise\n01,other words,it was bad,the film was good\n02,others,,never\n", encoding="utf-8"
    )
    lines = kinds_lab.ft30("predict", "pairs", "--file", "new.csv", "--json").stdout.splitlines()
    first, second = map(json.loads, lines)
    assert (first["text"], first["text_pair"]) == ("the film was good", "it was bad")
    assert first["columns"] == {"id": "01", "text": "other words"}
    assert list(first["probabilities"].values()) == shares_of(pairs_run, [first["text"]], [first["text_pair"]])[0]
    assert second["no_answer"]["code"] == "no_tokens"  # one side is blank, as no row of the training was


def test_the_process_behind_api_and_page_says_it_in_its_own_words(kinds_lab: KindsLab, pairs_run: Path) -> None:
    questions = [{"texts": ["a"], "text_pairs": None}, {"texts": ["the film"], "text_pairs": ["it was good"]}]
    ended = subprocess.run(
        [sys.executable, "-m", "finetune30", "answer", "pairs"],
        input="".join(json.dumps(question) + "\n" for question in questions),
        capture_output=True,
        text=True,
        check=True,
        cwd=kinds_lab.folder,
        env={**os.environ, "PYTHONPATH": kinds_lab.server.python_path},
    )
    refused, answered = map(json.loads, ended.stdout.splitlines())
    assert (refused["error"], refused["remedy"]) == ("data_error", "give text_pairs, as many as texts")
    assert "trained on pairs of texts" in refused["message"]
    (answer,) = answered["answers"]
    assert list(answer["probabilities"].values()) == shares_of(pairs_run, ["the film"], ["it was good"])[0]
