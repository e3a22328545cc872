"""Results as a training publishes them, with all that a repetition reads and is compared by; nothing is trained."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import torch
from safetensors.torch import save_file

from finetune30.config import ExperimentConfig
from finetune30.config.loading import dump_config
from finetune30.files import encode_json
from finetune30.store import Run, RunFolder, RunStore

_METRICS = {"score": 0.5, "score_name": "eval_accuracy", "eval_accuracy": 0.5, "labels": ["no", "yes"]}


def publish_result(folder: RunFolder, attempt_number: int, config: ExperimentConfig) -> str:
    """Publish a small result in a run folder; return the sha256 of its manifest."""
    attempt = folder.open_attempt(attempt_number)
    model = attempt.outbox / "artifacts" / "final_model"
    model.mkdir(parents=True)
    save_file({"weight": torch.ones(2)}, model / "adapter_model.safetensors")
    (attempt.outbox / "metrics.json").write_bytes(encode_json(_METRICS))
    pl.DataFrame({"row_id": ["r"], "prediction": ["no"]}).write_parquet(attempt.outbox / "predictions.parquet")
    attempt.reveal("config.yaml", dump_config(config).encode())
    base = {"sha256": "b", "revision": None}
    environment = {"device": "cpu", "precision": "fp32", "deterministic": True}
    facts = {"environment": environment, "digests": {}, "dataset_digest": "d", "base": base}
    return attempt.publish(facts).manifest_sha256


def finish_run(store: RunStore, config: ExperimentConfig, results: Path) -> Run:
    """Record a run that SUCCEEDED with such a result."""
    run = store.create(config, kind="local", results_root=results)
    claim = store.claim(run.id, lease_seconds=60)
    assert claim is not None
    store.succeed(claim, _METRICS, publish_result(RunFolder(results / run.folder), claim.attempt, config))
    return store.get(run.id)
