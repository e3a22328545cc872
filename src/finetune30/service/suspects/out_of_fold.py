"""Logits of training rows from models that never saw them: k-fold cross-validation of a run's own configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.config import ExperimentConfig
from finetune30.errors import ConflictError

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.versions.manifest import Manifest
    from finetune30.training.progress import QuietHooks

Log = Callable[[str], None]
#: What a fold's training leaves out: its held-out rows must choose neither the step to stop at nor the best weights.
_NO_CHOICE = {"eval_strategy": "no", "early_stopping_patience": None, "load_best_model_at_end": False}


def train_out_of_fold(
    config: ExperimentConfig, rows: pl.DataFrame, manifest: Manifest, folds: int, log: Log, device: str | None = None
) -> NDArray[np.float32]:
    """Train `folds` models, each without the rows it then answers; return logits float32 (n, labels) in row order.

    `rows` are the training rows of the version (text, text_pair, label, origin). Rows of one text share a fold, and
    every fold has its share of each label. Nothing is recorded and the run is left as it is.
    Raises ConflictError where there are fewer different texts than folds.
    """
    from finetune30.data.encoding import encode_split
    from finetune30.data.labels import LabelPlan, encode_labels
    from finetune30.data.splitting import assign_folds, strata_of
    from finetune30.data.validation.set_rules import text_keys
    from finetune30.modeling.base import find_base
    from finetune30.modeling.devices import choose_placement
    from finetune30.training.determinism import apply_determinism
    from finetune30.training.loop import train
    from finetune30.training.paths import Task, build_encoder, build_engine, choose_path, order_labels

    config = _config_of_a_fold(config, device)
    keys = text_keys(rows)
    if (texts := keys.n_unique()) < folds:
        raise ConflictError(f"{texts} different texts cannot fill {folds} folds", "choose fewer folds")
    source = find_base(config.model)
    task = Task(manifest.problem_type, order_labels(source, manifest.label_names, log))
    frame = encode_labels(_as_read(rows), LabelPlan(task.problem_type, task.label_names))
    assigned = assign_folds(keys, strata_of(frame["label"]), folds, config.training.seed)
    placement = choose_placement(config.training.device, config.training.precision)
    apply_determinism(placement.device, config.training.deterministic)
    path, _ = choose_path(config, source, placement)
    encoder = build_encoder(path, source, config.data.max_length)
    logits = np.zeros((frame.height, task.num_labels), dtype=np.float32)
    for fold in range(folds):
        held_out = assigned == fold
        log(f"fold {fold + 1} of {folds}: training on {int((~held_out).sum()):,} rows, asking about the others")
        splits = [
            encode_split(frame.filter(mask), encoder, config.data.max_length, task.problem_type)
            for mask in (~held_out, held_out)
        ]
        engine = build_engine(path, config, source, task, placement)
        result = train(engine, splits[0], splits[1], config.training, task.label_names, _hooks_of_a_fold(log))
        logits[held_out] = result.evaluation_logits
    # Outputs may stand in the order of the checkpoint's own head.
    return logits[:, [task.label_names.index(name) for name in manifest.label_names]] if task.label_names else logits


def _config_of_a_fold(config: ExperimentConfig, device: str | None) -> ExperimentConfig:
    tree = config.as_tree()
    # Weights of an earlier run may have been trained on the very rows that a fold holds out.
    tree["training"] |= {**_NO_CHOICE, "start_adapter": None, "device": device or config.training.device}
    return ExperimentConfig.model_validate(tree)


def _as_read(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    renamed = rows.rename({"label": "label_text", "origin": "row_id"})
    return renamed.with_columns(pl.lit(None, dtype=pl.String).alias("reason"))


def _hooks_of_a_fold(log: Log) -> QuietHooks:
    """Return hooks that tell the logged steps; a fold runs to its end, and Ctrl-C ends the command."""
    from finetune30.training.progress import QuietHooks

    class FoldHooks(QuietHooks):
        def on_record(self, record: dict[str, Any]) -> None:
            if record["type"] == "train":
                log(f"  step {record['step']} loss {record['loss']:.4f}")
            elif record["type"] == "event":
                log(f"  {record['message']}")

    return FoldHooks()
