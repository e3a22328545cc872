"""What a run's saved adapter makes of rows: evaluated once, by the path that trained it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.config import ExperimentConfig
from finetune30.data.validation.row_rules import NO_TOKENS
from finetune30.errors import DataError
from finetune30.modeling.base import ADAPTER_CONFIG
from finetune30.problems import load_problem
from finetune30.problems.trainables import load_trainable
from finetune30.training.problem import JudgesAnswers

if TYPE_CHECKING:
    import polars as pl

    from finetune30.data.encoding import EncodedSplit
    from finetune30.data.problem import Targets
    from finetune30.store import Run

Log = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """Metrics (as `Evaluation.metrics`, and `eval_answers`), predictions (as `Problem.predictions`).

    `left_out`: rows left out, by reason.
    """

    metrics: dict[str, Any]
    predictions: pl.DataFrame
    targets: Targets
    left_out: dict[str, int]


def measure_rows(
    run: Run,
    config: ExperimentConfig,
    folder: Path,
    frame: pl.DataFrame,
    log: Log,
    data_folder: Path,
    device: str | None = None,
) -> Measured:
    """Evaluate prepared rows with the adapter in `folder`.

    `device` in the place of the configured one. Raises what loading raises, OutOfMemoryError and DataError.
    """
    from finetune30.data.groups import with_groups
    from finetune30.modeling.base import find_base
    from finetune30.modeling.devices import choose_placement
    from finetune30.modeling.saved_targets import load_targets
    from finetune30.service.execution.warm_start import load_start_adapter
    from finetune30.training.determinism import apply_determinism
    from finetune30.training.evaluator import Evaluator
    from finetune30.training.paths import build_encoder, build_engine, choose_path, settle_packing
    from finetune30.training.progress import Progress

    config = _as_published(config, folder)
    described = load_targets(folder)
    placement = choose_placement(device or config.training.device, config.training.precision, run.precision)
    apply_determinism(placement.device, config.training.deterministic)
    source = find_base(config.model, log, data_folder=data_folder)
    problem = load_problem(described["problem_type"])
    trainable = load_trainable(problem.name, described["targets"]).with_base(source, config, log)
    trainable = trainable.follow_adapter(described["targets"], str(folder), log)
    path, _ = choose_path(config, source, trainable, placement)
    encoder = build_encoder(path, source, config.data.max_length, trainable)

    def encode(rows: pl.DataFrame) -> EncodedSplit:
        return problem.encode(rows, encoder, trainable.targets, config.data.max_length)

    split, left_out = _encode_what_says_something(frame, encode, allow_empty=config.data.validation_rules.allow_empty)
    engine = build_engine(path, config, source, trainable, placement, log)
    engine.load_adapter_state(load_start_adapter(str(folder)))
    settle_packing(engine, split, config, log)
    evaluator = Evaluator(engine, split, config.training, trainable, lambda *_, **__: None)
    batch = config.training.per_device_eval_batch_size
    evaluation = evaluator.finish(Progress(0, 1, batch), "the run itself is as it was")
    kept = with_groups(problem.predictions(split, evaluation.outputs, trainable.targets), frame)
    metrics = dict(evaluation.metrics)
    if isinstance(trainable, JudgesAnswers) and evaluation.outputs is not None:
        metrics |= trainable.judge_answers(evaluation.outputs, split.targets, described)
    return Measured(metrics, kept, trainable.targets, left_out)


def _encode_what_says_something(
    frame: pl.DataFrame, encode: Callable[[pl.DataFrame], EncodedSplit], *, allow_empty: bool
) -> tuple[EncodedSplit, dict[str, int]]:
    """Return the rows that the model can read, encoded, and how many it cannot, by reason."""
    import polars as pl

    split = encode(frame)
    reasons = {split.row_ids[place]: reason.rule for place, reason in split.aside.items()}
    silent = (split.row_ids[place] for place, tokens in split.tokenless.items() if not (allow_empty and tokens))
    reasons |= dict.fromkeys(silent, NO_TOKENS)
    if not reasons:
        return split, {}
    rest = frame.filter(~pl.col("row_id").is_in(list(reasons)))
    left_out = dict(sorted(Counter(reasons.values()).items()))
    if not rest.height:
        counted = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise DataError(f"no test row is left ({counted})", "look at the rows that are kept for the test")
    return encode(rest), left_out


def _as_published(config: ExperimentConfig, folder: Path) -> ExperimentConfig:
    """Return the configuration with which an engine holds what was published: one process, an ordinary adapter.

    What took the start of the adapter out of the base is published as an adapter of another rank for the whole base.
    """
    tree = config.as_tree()
    tree["training"] |= {"processes": 1, "start_adapter": None}
    if config.lora.changes_base:
        saved = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        tree["lora"] |= {"init_lora_weights": True, "r": saved["r"], "lora_alpha": saved["lora_alpha"]}
    return ExperimentConfig.model_validate(tree)
