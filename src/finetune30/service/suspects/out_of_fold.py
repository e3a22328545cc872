"""Outputs for training rows from models that never saw them: k-fold cross-validation of a run's own configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetune30.config import ExperimentConfig
from finetune30.errors import ConflictError
from finetune30.problems import load_problem
from finetune30.problems.trainables import load_trainable
from finetune30.values import say_count

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.problem import Targets
    from finetune30.data.versions.manifest import Manifest
    from finetune30.training.progress import QuietHooks

Log = Callable[[str], None]
#: What a fold's training leaves out: its held-out rows must choose neither the step to stop at nor the best weights.
_NO_CHOICE = {"eval_strategy": "no", "early_stopping_patience": None, "load_best_model_at_end": False}


def train_out_of_fold(
    config: ExperimentConfig,
    rows: pl.DataFrame,
    manifest: Manifest,
    folds: int,
    log: Log,
    data_folder: Path,
    device: str | None = None,
) -> tuple[NDArray[np.float32], Targets]:
    """Train `folds` models, each without the rows it then answers; return outputs float32 (n, k) in row order,
    and the targets whose outputs they are.

    `rows` are the training rows of the version. Rows of one text and of one group share a fold, and
    every fold has its share of each label. Nothing is recorded and the run is left as it is.
    Raises ConflictError where there are fewer different texts than folds.
    """
    from finetune30.data.groups import keep_together
    from finetune30.data.prepare import rows_of_version
    from finetune30.data.splitting import assign_folds
    from finetune30.data.validation.set_rules import text_keys
    from finetune30.modeling.base import find_base
    from finetune30.modeling.devices import choose_placement
    from finetune30.training.determinism import apply_determinism
    from finetune30.training.loop import train
    from finetune30.training.paths import build_encoder, build_engine, choose_path

    config = _config_of_a_fold(config, device)
    rows = rows_of_version(rows, manifest.schema)
    keys = keep_together(text_keys(rows), rows)
    if (texts := keys.n_unique()) < folds:
        raise ConflictError(
            f"{say_count(texts, 'different texts')} cannot fill {say_count(folds, 'folds')}", "choose fewer folds"
        )
    source = find_base(config.model, log, data_folder=data_folder)
    problem = load_problem(manifest.problem_type)
    trainable = load_trainable(problem.name, manifest.targets).with_base(source, config, log).follow_head(source, log)
    frame = problem.encode_targets(rows, trainable.targets)
    assigned = assign_folds(keys, problem.strata(frame["label"]), folds, config.row_seed)
    placement = choose_placement(config.training.device, config.training.precision)
    apply_determinism(placement.device, config.training.deterministic)
    path, _ = choose_path(config, source, trainable, placement)
    encoder = build_encoder(path, source, config.data.max_length)
    outputs: NDArray[np.float32] | None = None
    for fold in range(folds):
        held_out = assigned == fold
        log(
            f"fold {fold + 1} of {folds}: training on {say_count(int((~held_out).sum()), 'rows', ',')}, asking "
            f"about the others"
        )
        without, asked = (
            problem.encode(frame.filter(mask), encoder, trainable.targets, config.data.max_length)
            for mask in (~held_out, held_out)
        )
        learnt = trainable.with_baseline_of(without)
        engine = build_engine(path, config, source, learnt, placement)
        result = train(engine, without, asked, config.training, learnt, _hooks_of_a_fold(log))
        kept = result.evaluation_outputs
        assert kept is not None  # noqa: S101 - problems whose rows can be ranked keep outputs
        if outputs is None:
            outputs = np.zeros((frame.height, kept.shape[1]), dtype=np.float32)
        outputs[held_out] = kept
    assert outputs is not None  # noqa: S101 - there are at least two folds
    return outputs, trainable.targets


def _config_of_a_fold(config: ExperimentConfig, device: str | None) -> ExperimentConfig:
    tree, training = config.as_tree(), config.training
    # Folds are trained in this process alone, with as many rows a step.
    several = {"processes": 1, "gradient_accumulation_steps": training.gradient_accumulation_steps * training.processes}
    # Weights of an earlier run may have been trained on the very rows that a fold holds out.
    tree["training"] |= {**_NO_CHOICE, **several, "start_adapter": None, "device": device or training.device}
    return ExperimentConfig.model_validate(tree)


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
