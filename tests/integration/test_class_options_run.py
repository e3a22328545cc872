"""The options of classifiers from the command to the answers of a model, here and elsewhere."""

from __future__ import annotations

import json
import os
import runpy
import zipfile
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from finetune30.cli.export import command as export
from finetune30.cli.predict import command as predict
from finetune30.cli.replay import command as replay
from finetune30.cli.test import command as look
from finetune30.cli.train import command as train
from support.plain_answers import plain_logits, sigmoid, softmax

pytestmark = pytest.mark.integration


def run(command: click.Command, *arguments: str) -> str:
    done = CliRunner().invoke(command, [*arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def ask_elsewhere(script: Path, texts: list[str]) -> list[list[str] | None]:
    here = Path.cwd()
    try:
        ask = runpy.run_path(str(script))["ask"]  # goes where its files are
        return [ask(text) for text in texts]
    finally:
        os.chdir(here)


def test_options_hold_from_the_training_to_the_answers(tiny_model: Callable[..., Path]) -> None:
    words = {"ham": "meadow", "spam": "prize"}
    labels = ["ham"] * 150 + ["spam"] * 50
    lines = [f"{words[label]} number {number},{label}\n" for number, label in enumerate(labels)]
    Path("rows.csv").write_text("text,label\n" + "".join(lines))
    chosen = {
        "model.name": str(tiny_model("bert")),
        "data.dataset_name": "rows.csv",
        "data.eval_fraction": "0.3",
        "data.max_length": "32",
        "training.class_weights": "balanced",
        "training.label_smoothing": "0.1",
        "training.temperature_scaling": "true",
    }
    run(train, *(part for key, value in chosen.items() for part in (f"--{key}", value)))
    (folder,) = Path("results").glob("*/")
    metrics = json.loads((folder / "metrics.json").read_text())
    weights = metrics["class_weights"]
    counts = json.loads((folder / "data_report.json").read_text())["label_counts"]
    assert weights["spam"] / weights["ham"] == pytest.approx(counts["ham"] / counts["spam"], rel=1e-5)
    calibration = metrics["eval_calibration"]
    assert calibration["is_applied"]
    saved = folder / "artifacts" / "final_model"
    temperature = json.loads((saved / "labels.json").read_text())["temperature"]
    assert temperature == calibration["temperature"] != 1.0
    # Evaluations are neither weighted nor smoothed: their loss is the log loss of the logits.
    assert metrics["eval_loss"] == pytest.approx(calibration["log_loss"], rel=1e-5)
    answer = json.loads(run(predict, "latest", "meadow number 7", "--json", "--device", "cpu"))
    (logits,) = plain_logits(saved, ["meadow number 7"], outputs=2)
    expected = softmax(list(np.asarray(logits) / temperature))
    assert list(answer["probabilities"].values()) == pytest.approx(expected, abs=1e-4)
    assert "identical" in run(replay, "latest")


def test_thresholds_and_what_is_withheld_hold_wherever_the_model_answers(tiny_model: Callable[..., Path]) -> None:
    # Of each word fewer than half of the rows have its label: at one half none is ever answered.
    rows, words = [], {"bug": ("crash", 2), "praise": ("lovely", 3)}
    for number in range(360):
        there = {name: word for name, (word, every) in words.items() if number % every == 0}
        labels = [name for name in there if number // words[name][1] % 20 < 8]
        rows.append({"text": " ".join(["note", str(number), *there.values()]), "labels": labels})
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    chosen = {
        "model.name": str(tiny_model("bert")),
        "model.problem_type": "multi_label_classification",
        "data.dataset_name": "rows.jsonl",
        "data.eval_fraction": "0.7",
        "data.max_length": "16",
        "data.test_fraction": "0.2",
        "training.threshold_tuning": "true",
        "training.abstention_risk": "0.2",
        "training.learning_rate": "0.002",
        "training.num_train_epochs": "4",
    }
    run(train, *(part for key, value in chosen.items() for part in (f"--{key}", value)))
    (folder,) = Path("results").glob("*/")
    metrics = json.loads((folder / "metrics.json").read_text())
    found = metrics["eval_thresholds"]
    assert found["f1"] == pytest.approx(metrics["eval_f1"])
    assert found["is_applied"]
    saved = folder / "artifacts" / "final_model"
    settled = json.loads((saved / "labels.json").read_text())
    assert settled["thresholds"] == found["thresholds"]
    assert settled["least_confidence"] == metrics["eval_abstention"]["least_confidence"]
    card = (saved / "README.md").read_text()
    assert "Thresholds of answers" in card
    assert "Wrong answers, where only the surest are given" in card
    texts = ["note 7", "note 8 crash", "note 9 lovely", "note 6 crash lovely"]
    thresholds = [settled["thresholds"][name] for name in settled["label_names"]]
    chosen_names, expected = [], []
    for logits in plain_logits(saved, texts, outputs=2):
        shares = sigmoid(logits)
        is_there = [share > cut for share, cut in zip(shares, thresholds, strict=True)]
        sure = min(share if there else 1 - share for share, there in zip(shares, is_there, strict=True))
        names = [name for name, there in zip(settled["label_names"], is_there, strict=True) if there]
        chosen_names.append(names)
        expected.append(names if sure >= settled["least_confidence"] else None)
    assert expected[0] == []
    assert None in expected
    assert any(chosen_names)
    answers = list(map(json.loads, run(predict, "latest", *texts, "--json", "--device", "cpu").splitlines()))
    assert [answer.get("labels") for answer in answers] == expected
    assert [answer.get("no_answer", {}).get("code") for answer in answers].count("not_sure") == expected.count(None)
    run(export, "latest", "--as", "zip", "--output", "model.zip")
    with zipfile.ZipFile("model.zip") as package:
        package.extractall("elsewhere")
    (script,) = Path("elsewhere").glob("*/use_model.py")
    assert ask_elsewhere(script, texts) == expected
    (script.parent / "adapter" / "labels.json").write_text(json.dumps({**settled, "least_confidence": 0.0}))
    assert ask_elsewhere(script, texts) == chosen_names
    (opened,) = json.loads(run(look, "latest", "--json"))
    judged = opened["result"]["metrics"]["eval_answers"]
    assert judged["f1_at_one_half"] == opened["result"]["metrics"]["eval_f1"] < judged["f1"]
    assert 0 < judged["given"] < judged["rows"]
    assert "Rows answered (the others: not sure)" in run(look, "latest", "--show")
    assert "identical" in run(replay, "latest")
