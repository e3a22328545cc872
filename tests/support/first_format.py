"""How `tests/fixtures/first_format` was made: versions and runs as they were written before manifests had a format 2.

    python -m support.first_format FOLDER      (with PYTHONPATH=src:tests of the tree that is to write them)

It was run once, on the tree of 834b686, by the command line alone, so that everything is as a user of that time has it:
made-up sentences, a tiny model with random weights. `store` is the data folder, `runs` the results folder without the
weights and the working files of attempts.
"""

from __future__ import annotations

import csv
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "first_format"
Cells = tuple[str, ...]


@dataclass(frozen=True)
class Set:
    """A data set in two states; its tags are `{name}-before` and `{name}-after`."""

    name: str
    columns: Cells
    before: tuple[Cells, ...]
    after: tuple[Cells, ...]
    evaluation: tuple[Cells, ...]
    options: Cells = ()


#: `after` gives the second row another label, the third another text, leaves the fourth out and adds one at the end.
SETS = (
    Set(
        "single",
        ("text", "label"),
        (("a fine film", "good"), ("a slow film", "bad"), ("the plot broke", "bad"), ("we loved it", "good")),
        (("a fine film", "good"), ("a slow film", "good"), ("the plot was broken", "bad"), ("very nice staff", "good")),
        (("a great book", "good"), ("an awful book", "bad")),
    ),
    Set(
        "multi",
        ("text", "label"),
        (("slow but nice", "people|speed"), ("dirty room", "room"), ("best staff", "people"), ("it broke", "room")),
        (
            ("slow but nice", "people|speed"),
            ("dirty room", "people|room"),
            ("best staff ever", "people"),
            ("very fast", "speed"),
        ),
        (("nice room", "room"), ("poor service, fast", "people|speed")),
        ("--label_separator", "|"),
    ),
    Set(
        "regression",
        ("text", "label"),
        (("the worst", "-1.5"), ("poor food", "-0.25"), ("good food", "1.5"), ("the best", "2.75")),
        (("the worst", "-1.5"), ("poor food", "0.5"), ("rather good", "1.5"), ("never again", "-2.25")),
        (("a happy story", "2.5"), ("a sad story", "-1.25")),
    ),
    Set(
        "pair",
        ("text", "text_pair", "label"),
        (
            ("is the room clean", "we loved the room", "no"),
            ("is it fast", "it never works", "no"),
            ("was it 好", "very good, 很好", "yes"),
            ("is the food nice", "", "no"),
        ),
        (
            ("is the room clean", "we loved the room", "no"),
            ("is it fast", "it never works", "yes"),
            ("was it 好", "good, 很好", "yes"),
            ("who was sad", "the staff", "yes"),
        ),
        (("is it slow", "always", "yes"), ("is it poor", "we hated it", "no")),
    ),
)
#: Runs: name, set, and what differs from the run before.
RUNS = (
    ("first_single", "single", {"num_labels": 2}, {"num_train_epochs": 1}),
    ("second_single", "single", {"num_labels": 2}, {"num_train_epochs": 2, "learning_rate": 0.01}),
    ("first_regression", "regression", {"num_labels": 1, "problem_type": "regression"}, {"num_train_epochs": 1}),
)
_LEFT_OUT = ("artifacts", "attempts", ".*")


def main(arguments: Sequence[str]) -> None:
    """Write the fixture into a folder that is not there yet."""
    from support.tiny_models import build_tiny_model

    target = Path(arguments[0]).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_tiny_model(folder / "base", layers=1, hidden=8)
        for one in SETS:
            _make_versions(folder, one)
        for run in RUNS:
            _train(folder, *run)
        shutil.copytree(folder / "data_store", target / "store", ignore=shutil.ignore_patterns(".*"))
        shutil.copytree(folder / "results", target / "runs", ignore=shutil.ignore_patterns(*_LEFT_OUT, "*.db*"))
        with sqlite3.connect(folder / "results" / "experiments.db") as database:
            database.execute("VACUUM INTO ?", (str(target / "runs" / "experiments.db"),))


def _make_versions(folder: Path, one: Set) -> None:
    _save(folder / f"{one.name}-eval.csv", one.columns, one.evaluation)
    for state, rows in (("before", one.before), ("after", one.after)):
        _save(folder / f"{one.name}.csv", one.columns, rows)
        options = ("--eval_file", f"{one.name}-eval.csv", "--tag", f"{one.name}-{state}", "--note", state, *one.options)
        _ft30(folder, "data", "versions", "create", f"{one.name}.csv", *options)


def _train(folder: Path, name: str, of: str, model: dict[str, object], training: dict[str, object]) -> None:
    tree = {
        "experiment_name": name,
        "model": {"name": "base", **model},
        "lora": {"target_modules": "auto", "r": 2},
        "data": {"dataset_name": f"version:{of}-before", "max_length": 16},
        "training": {"device": "cpu", "precision": "fp32", **training},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    _ft30(folder, "train", "--config", f"{name}.yaml")


def _save(path: Path, columns: Cells, rows: Sequence[Cells]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])


def _ft30(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "finetune30", *arguments]
    subprocess.run(command, cwd=folder, check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}, stdout=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
