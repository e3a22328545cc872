"""A classifier with weights of classes, smoothing and a temperature: from the command to its answers, and repeated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from finetune30.cli.predict import command as predict
from finetune30.cli.replay import command as replay
from finetune30.cli.train import command as train
from support.plain_answers import plain_logits, softmax

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
