"""Finished runs that can become versions of models; nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors.torch import save_file

from finetune30.config import STARTER, ExperimentConfig
from finetune30.config.loading import dump_config
from finetune30.data.versions.storage import VersionStore
from finetune30.files import encode_json
from finetune30.service.registry.registering import register_run
from finetune30.service.runs.open_records import Records
from finetune30.store import Run, RunFolder, RunStore
from finetune30.store.model_records import ModelVersion, VersionState
from finetune30.store.model_registry import settle_version

NAMES = ["no", "yes"]
PROBLEM = "single_label_classification"
ROWS = 12
LORA = {"peft_type": "LORA", "target_modules": ["query", "value"]}


def finish_model_run(
    store: RunStore,
    results: Path,
    name: str = "trial",
    *,
    wrong: Sequence[int] = (),
    problem: str = PROBLEM,
    labels: Sequence[str] = NAMES,
    base: str = STARTER,
) -> Run:
    """Record a run that SUCCEEDED, whose model answers twelve rows; those of `wrong` wrongly. `base`: its name."""
    config = ExperimentConfig(experiment_name=name)
    run = store.create(config, kind="local", results_root=results)
    claim = store.claim(run.id, lease_seconds=60)
    assert claim is not None
    attempt = RunFolder(results / run.folder).open_attempt(claim.attempt)
    attempt.reveal("config.yaml", dump_config(config).encode())
    attempt.reveal("data_report.json", encode_json({"ledger": {"totals": {"train": {"input": 8, "used": 8}}}}))
    save_model(attempt.outbox / "artifacts" / "final_model", name, problem, labels, base)
    label = [labels[row % 2] for row in range(ROWS)]
    prediction = [labels[(row + (row in wrong)) % 2] for row in range(ROWS)]
    outcome = [row not in wrong for row in range(ROWS)]
    rows = {"row_id": [f"r{row:02}" for row in range(ROWS)], "label": label, "prediction": prediction}
    pl.DataFrame({**rows, "outcome": outcome}).write_parquet(attempt.outbox / "predictions.parquet")
    score = sum(outcome) / ROWS
    metrics = {"score": score, "score_name": "eval_accuracy", "score_format": "percent", "eval_samples": ROWS}
    metrics |= {"eval_accuracy": score, "labels": list(labels), "problem_type": problem, "train_samples": 8}
    (attempt.outbox / "metrics.json").write_bytes(encode_json(metrics))
    trained_on = {"name": "starter", "id": None, "revision": None, "sha256": "b" * 64}
    facts = {"environment": {}, "digests": {}, "dataset_digest": "d" * 64, "data": {"name": "rows.csv"}}
    facts["base"] = trained_on
    store.succeed(claim, metrics, attempt.publish(facts).manifest_sha256)
    return store.get(run.id)


def make_ready(store: RunStore, model: str, number: int) -> ModelVersion:
    """Settle the check of a version as a finished one does: these models cannot be loaded."""
    certificate = {"reference": {"rows": ROWS, "sha256": "c" * 64}, "path": "packed", "faults": []}
    return settle_version(store, model, number, VersionState.READY, certificate, actor="checker")


def register_ready(store: RunStore, results: Path, run: Run, model: str) -> ModelVersion:
    """Register a run, and settle the check of its version."""
    made, _ = register_run(Records(store, results), run.id, model, VersionStore(results / "data"), actor="anna")
    return make_ready(store, model, made.number)


def save_model(folder: Path, name: str, problem: str, names: Sequence[str] = NAMES, base: str = STARTER) -> None:
    """Write the files of a saved model; the weights differ with the name."""
    folder.mkdir(parents=True)
    save_file({"weight": torch.full((2,), float(len(name)))}, folder / "adapter_model.safetensors")
    labels: dict[str, Any] = {
        "problem_type": problem,
        "label_names": list(names),
        "targets": {"label_names": list(names)},
        "max_length": 16,
        "recipe": [],
        "threshold": None,
        "reading": {"columns": {"text": "text"}, "marks_are_text": True, "allow_empty": False},
        "base": {"name": "starter", "revision": None, "sha256": "b" * 64},
    }
    files = {
        "labels.json": labels,
        "adapter_config.json": {"base_model_name_or_path": base, "revision": None, "name": name, **LORA},
        "tokenizer.json": {"truncation": None, "padding": None},
    }
    for file, tree in files.items():
        (folder / file).write_text(json.dumps(tree), encoding="utf-8")
    (folder / "README.md").write_text("---\nbase_model: starter\n---\n", encoding="utf-8")
