"""Rows of the three kinds of learning, so clear that a tiny model learns them, and runs that have learnt them."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from support.fork_server import Ended, ForkServer

_OPENINGS = ("the film was", "i hated the plot again", "it is the room", "we loved the staff and", "so the food broke")
_ENDINGS = ("slow", "fast and clean", "dirty again", "very nice")


@dataclass(frozen=True)
class Kind:
    """What is told to `ft30 train`, and the label of each mark: a word that alone decides a row."""

    name: str
    marks: dict[str, str]
    config: dict[str, Any]

    def rows(self) -> list[tuple[str, str]]:
        """Return (text, label) of every row: each mark in every sentence."""
        sentences = product(_OPENINGS, _ENDINGS, self.marks.items())
        return [(f"{opening} {mark} {mark} {ending}", label) for opening, ending, (mark, label) in sentences]

    def save(self, folder: Path) -> None:
        """Write the rows as CSV with the columns text and label: every fifth to evaluate on, the others to train on."""
        rows = self.rows()
        held_out = rows[::5]
        for name, chosen in (("train", [row for row in rows if row not in held_out]), ("eval", held_out)):
            with (folder / f"{self.name}-{name}.csv").open("w", encoding="utf-8", newline="") as stream:
                csv.writer(stream).writerows([("text", "label"), *chosen])


# Names whose order is not that of the marks, so that a name in the wrong place shows.
SINGLE_LABEL = Kind("single-label", {"great": "zest", "awful": "anger", "fine": "middle"}, {"num_labels": 3})
MULTI_LABEL = Kind(
    "multi-label",
    {"great": "zest", "awful": "anger", "fine": "anger|middle|zest"},
    {"num_labels": 3, "problem_type": "multi_label_classification"},
)
REGRESSION = Kind(
    "regression",
    {"great": "2.5", "awful": "-1.5", "fine": "0.5"},
    {"num_labels": 1, "problem_type": "regression"},
)
KINDS = {kind.name: kind for kind in (SINGLE_LABEL, MULTI_LABEL, REGRESSION)}


class KindsLab:
    """A folder in which `ft30` commands run on the rows of the three kinds; all runs stand in one results folder."""

    def __init__(self, server: ForkServer, folder: Path) -> None:
        self.server, self.folder = server, folder

    @classmethod
    def make(cls, server: ForkServer, folder: Path, base: Path) -> KindsLab:
        """Return a lab with the rows and the base model, and no run yet."""
        shutil.copytree(base, folder / "base")  # a link would lead out of what an API may name
        for kind in KINDS.values():
            kind.save(folder)
        return cls(server, folder)

    def copy(self, folder: Path) -> KindsLab:
        """Return a lab of its own, in a new folder, with all that stands in this one."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return KindsLab(self.server, folder)

    def ft30(self, *arguments: str) -> Ended:
        """Run a command; it must end well."""
        ended = self.server.run(*arguments, cwd=self.folder)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended

    def run_folder(self, name: str) -> Path:
        """Return the folder of the run of that name."""
        (found,) = (self.folder / "results").glob(f"{name}_2*")
        return found

    def train(self, kind: Kind, name: str, data: Mapping[str, Any] | None = None, **training: Any) -> Path:
        """Train a run of a kind under a name of its own; return its folder. Keys as for `write_config`."""
        self.ft30("train", "--config", self.write_config(kind, name, data, **training))
        return self.run_folder(name)

    def write_config(self, kind: Kind, name: str, data: Mapping[str, Any] | None = None, **training: Any) -> str:
        """Write the configuration of a run of a kind; return its file. `data`: further keys of that section."""
        tree = {
            "experiment_name": name,
            "model": {"name": "base", "dropout": 0.0, **kind.config},
            "lora": {"target_modules": "auto", "r": 4, "lora_dropout": 0.0},
            "data": {
                "dataset_name": f"{kind.name}-train.csv",
                "eval_file": f"{kind.name}-eval.csv",
                "label_separator": "|" if kind is MULTI_LABEL else None,
                "max_length": 24,
                **(data or {}),
            },
            "training": {
                "device": "cpu",
                "precision": "fp32",
                "per_device_train_batch_size": 8,
                "num_train_epochs": 20,
                "learning_rate": 0.01,
                "logging_steps": 4,
                **training,
            },
        }
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
        return f"{name}.yaml"
