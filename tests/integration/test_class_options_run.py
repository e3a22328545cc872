"""A classifier with weights of classes, smoothing, a temperature, thresholds: from the command to its answers."""

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
from finetune30.cli.train import command as train
from support.plain_answers import plain_logits, sigmoid, softmax

pytestmark = pytest.mark.integration


def run(command: click.Command, *arguments: str) -> str:
    done = CliRunner().invoke(command, [*arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


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


def test_tuned_thresholds_hold_wherever_the_model_answers(tiny_model: Callable[..., Path]) -> None:
    words = {"bug": "crash", "praise": "lovely"}
    rows = [[name for place, name in enumerate(words) if number % (3 + place) == 0] for number in range(360)]
    lines = [
        json.dumps({"text": " ".join(["note", str(number), *(words[name] for name in names)]), "labels": names})
        for number, names in enumerate(rows)
    ]
    Path("rows.jsonl").write_text("\n".join(lines))
    chosen = {
        "model.name": str(tiny_model("bert")),
        "model.problem_type": "multi_label_classification",
        "data.dataset_name": "rows.jsonl",
        "data.eval_fraction": "0.7",
        "data.max_length": "16",
        "training.threshold_tuning": "true",
        "training.learning_rate": "0.0001",  # learns too little to be sure of rare labels: one half never answers them
    }
    run(train, *(part for key, value in chosen.items() for part in (f"--{key}", value)))
    (folder,) = Path("results").glob("*/")
    metrics = json.loads((folder / "metrics.json").read_text())
    found = metrics["eval_thresholds"]
    assert found["f1"] == pytest.approx(metrics["eval_f1"])
    assert found["is_applied"]
    saved = folder / "artifacts" / "final_model"
    assert json.loads((saved / "labels.json").read_text())["thresholds"] == found["thresholds"]
    assert "Thresholds of answers" in (saved / "README.md").read_text()
    texts = ["note crash", "note lovely", "note crash lovely", "note"]
    names = json.loads((saved / "labels.json").read_text())["label_names"]
    shares = [sigmoid(logits) for logits in plain_logits(saved, texts, outputs=2)]
    expected = [
        [name for name, share in zip(names, row, strict=True) if share > found["thresholds"][name]] for row in shares
    ]
    assert expected != [[name for name, share in zip(names, row, strict=True) if share > 0.5] for row in shares]
    answers = run(predict, "latest", *texts, "--json", "--device", "cpu").splitlines()
    assert [json.loads(answer)["labels"] for answer in answers] == expected
    run(export, "latest", "--as", "zip", "--output", "model.zip")
    with zipfile.ZipFile("model.zip") as package:
        package.extractall("elsewhere")
    (script,) = Path("elsewhere").glob("*/use_model.py")
    here = Path.cwd()
    ask = runpy.run_path(str(script))["ask"]
    os.chdir(here)  # the script goes where its files are
    assert [ask(text) for text in texts] == expected
