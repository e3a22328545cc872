"""What must be equal when two runs took the same way, read from their folders."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from support.fork_server import Ended, ForkServer
from support.rows import write_reviews

#: Values that a clock decides.
_TIMED = ("time", "runtime", "per_second")

#: Dropout 0.1, accumulation 3, 23 rows that 2 x 3 does not divide, 3 epochs of 4 steps, evaluation mid-epoch,
#: early stopping armed, checkpoints more often than epochs.
DEMANDING = {
    "experiment_name": "exact",
    "model": {"name": "base"},
    "lora": {"target_modules": "auto", "r": 2, "lora_dropout": 0.1},
    "data": {
        "dataset_name": "train.csv",
        "eval_file": "eval.csv",
        "train_samples": None,
        "eval_samples": None,
        "max_length": 24,
    },
    "training": {
        "device": "cpu",
        "precision": "fp32",
        "engine": "general",
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 3,
        "num_train_epochs": 3,
        "learning_rate": 0.01,
        "eval_strategy": "steps",
        "eval_steps": 3,
        "early_stopping_patience": 4,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "logging_steps": 2,
        "save_steps": 2,
    },
}
STEPS = 12


class Lab:
    """A folder with a base model, rows and a configuration, in which `ft30` commands run."""

    def __init__(self, server: ForkServer, folder: Path, base: Path, changes: dict | None = None) -> None:
        self.server, self.folder = server, folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "base").symlink_to(base)
        write_reviews(folder / "train.csv", 23)
        write_reviews(folder / "eval.csv", 9, first=100)
        tree: dict[str, Any] = {section: dict(v) if isinstance(v, dict) else v for section, v in DEMANDING.items()}
        for key, value in (changes or {}).items():
            section, name = key.split(".")
            tree[section][name] = value
        (folder / "config.yaml").write_text(yaml.safe_dump(tree))

    def ft30(self, *arguments: str, results: str = "results", **environment: str) -> Ended:
        """Run a command on the runs of one results folder."""
        return self.server.run(*arguments, cwd=self.folder, FT30_RESULTS_FOLDER=results, **environment)

    def train(self, results: str, **environment: str) -> Ended:
        """Run `ft30 train` with the lab's configuration."""
        return self.ft30("train", "--config", "config.yaml", results=results, **environment)

    def run_folder(self, results: str) -> Path:
        """Return the folder of the only run."""
        (found,) = [p for p in (self.folder / results).iterdir() if p.is_dir()]
        return found


def fingerprint(run: Path, *, with_events: bool = True) -> dict:
    """Return everything that must be equal: tensors, optimizer, random streams, history, metrics, predictions."""
    from safetensors.numpy import load_file

    manifest = json.loads((run / "manifest.json").read_text())
    metrics = json.loads((run / "metrics.json").read_text())
    tensors = load_file(run / "artifacts" / "final_model" / "adapter_model.safetensors")
    return {
        "tensors": {name: hashlib.sha256(value.tobytes()).hexdigest() for name, value in tensors.items()},
        "digests": manifest["digests"],
        "history": history_of(run, with_events=with_events),
        "metrics": {k: v for k, v in _untimed(metrics).items() if k not in ("run_id", "peak_memory_bytes", "origin")},
        "predictions": manifest["files"]["predictions.parquet"]["sha256"],
    }


def history_of(run: Path, *, with_events: bool = True) -> list[dict]:
    """Return the history without what a clock decides; `with_events`: with what happened to the run from outside."""
    records = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [_untimed(record) for record in records if with_events or record.get("event", "doubt").startswith("doubt")]


def _untimed(record: dict) -> dict:
    return {key: value for key, value in record.items() if not any(part in key for part in _TIMED)}
