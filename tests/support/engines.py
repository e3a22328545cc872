"""Both training paths over the same tiny model, for comparisons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from finetune30.config import ExperimentConfig
from finetune30.data.batching import Batch
from finetune30.modeling.base import find_base
from finetune30.modeling.devices import Placement
from finetune30.problems.trainables import load_trainable
from finetune30.training.engine import Engine
from finetune30.training.general import GeneralEngine
from finetune30.training.packed import PackedEngine
from finetune30.training.paths import build_engine
from finetune30.training.problem import Trainable

CPU_FP32 = Placement("cpu", "fp32", "test")


def configure(folder: Path, *, lora: dict[str, Any] | None = None, **training: Any) -> ExperimentConfig:
    """Return a configuration for a local base model, without LoRA dropout unless asked for."""
    return ExperimentConfig.model_validate(
        {
            "model": {"name": str(folder)},
            "lora": {"target_modules": "auto", "lora_dropout": 0.0, **(lora or {})},
            "data": {"max_length": 32},
            "training": training,
        }
    )


def switch_off_dropout(folder: Path) -> None:
    """Set every dropout rate of a saved base model to zero."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for key in ("dropout", "attention_dropout", "seq_classif_dropout"):
        config[key] = 0.0
    for key in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        config[key] = 0.0
    path.write_text(json.dumps(config))


def build_general(
    config: ExperimentConfig,
    *,
    problem_type: str = "single_label_classification",
    num_labels: int = 2,
    precision: str = "fp32",
) -> GeneralEngine:
    """Build the general path's engine on the CPU, as the product builds it."""
    engine = _build("general", config, problem_type, num_labels, precision)
    assert isinstance(engine, GeneralEngine)
    return engine


def build_packed(
    config: ExperimentConfig,
    *,
    problem_type: str = "single_label_classification",
    num_labels: int = 2,
    precision: str = "fp32",
) -> PackedEngine:
    """Build the packed path's engine, as the product builds it."""
    engine = _build("packed", config, problem_type, num_labels, precision)
    assert isinstance(engine, PackedEngine)
    return engine


def _build(path: str, config: ExperimentConfig, problem_type: str, num_labels: int, precision: str) -> Engine:
    problem = build_trainable(problem_type, num_labels)
    return build_engine(path, config, find_base(config.model), problem, Placement("cpu", precision, "test"))


def build_trainable(problem_type: str = "single_label_classification", num_labels: int = 2) -> Trainable:
    """Return a problem with the classes label0, label1 …; regression has none."""
    names = [] if problem_type == "regression" else [f"label{i}" for i in range(num_labels)]
    return load_trainable(problem_type, {"label_names": names})


def random_batch(
    lengths: list[int], *, seed: int = 0, problem_type: str = "single_label_classification", num_labels: int = 2
) -> Batch:
    """Return a batch of random tokens (ids 5 to 40); rows are pairs of two equal halves by token type."""
    generator = np.random.default_rng(seed)
    sizes = np.asarray(lengths, dtype=np.int64)
    inside = np.arange(max(lengths))[None, :] < sizes[:, None]
    ids = np.where(inside, generator.integers(5, 40, inside.shape), 0)
    types = np.where(inside & (np.arange(max(lengths))[None, :] >= sizes[:, None] // 2), 1, 0)
    labels: Any
    if problem_type == "single_label_classification":
        labels = generator.integers(0, num_labels, len(lengths))
    elif problem_type == "regression":
        labels = generator.normal(size=len(lengths)).astype(np.float32)
    else:
        labels = generator.integers(0, 2, (len(lengths), num_labels)).astype(np.float32)
    return Batch(np.arange(len(lengths)), ids, inside.astype(np.int64), types, labels, sizes)
