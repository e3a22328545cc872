"""The result of a run, staged in the attempt's outbox: model, metrics, predictions; tested before it counts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from finetune30 import __version__, failpoints
from finetune30.data.groups import with_groups
from finetune30.data.problem import label_names
from finetune30.errors import StorageError
from finetune30.service.execution.exactness import describe_git_state
from finetune30.service.execution.experiment import Experiment, Inputs
from finetune30.service.execution.set_aside import describe_set_aside, say_set_aside
from finetune30.service.runs.blocks import GROUPS, build_result_blocks
from finetune30.service.statistics.score_interval import describe_groups
from finetune30.store.records import Run

if TYPE_CHECKING:
    from finetune30.data.problem import Score
    from finetune30.modeling.saved_targets import Reading
    from finetune30.training.problem import Doubt
    from finetune30.training.progress import TrainingResult

#: Evaluation rows on which the saved model must answer like the trained one.
_SELF_TEST_ROWS = 16


def stage_result(
    outbox: Path,
    run: Run,
    experiment: Experiment,
    result: TrainingResult,
    doubts: Sequence[Doubt],
    environment: dict[str, Any],
    origin: dict[str, Any] | None,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Write artifacts/final_model, predictions.parquet and metrics.json, and test the saved model.

    Returns the facts for the manifest. Raises SelfTestError when the saved model is not the trained one.
    """
    final_model = outbox / "artifacts" / "final_model"
    final_model.mkdir(parents=True, exist_ok=True)
    metrics = _collect_metrics(run, experiment, result, environment) | {
        "doubts": [asdict(doubt) for doubt in doubts],
        "origin": origin,
    }
    data, targets = experiment.inputs.data, experiment.problem.targets
    kept = with_groups(
        data.problem.predictions(experiment.evaluation_split, result.evaluation_outputs, targets), data.evaluation
    )
    if (grouped := describe_groups(data.problem, kept, targets)) is not None:
        metrics[GROUPS] = grouped
    if said := say_set_aside(metrics["evaluation_set_aside"]):
        log(said)
    weights_sha256 = experiment.inputs.source.weights_digest()
    _save_model(final_model, run, experiment, metrics, environment, weights_sha256, result.answering)
    difference, repeated = _self_test(final_model, experiment, result)
    told = "; ".join([f"largest logit difference {difference:.2g}", *repeated])
    log(f"self-test: the saved model, loaded afresh, answers as trained ({told})")
    metrics["self_test_logit_difference"] = difference
    failpoints.reach(failpoints.DISK_WRITE)
    kept.write_parquet(outbox / "predictions.parquet")
    tables = {name: _write_table(outbox / f"{name}.jsonl", rows) for name, rows in result.tables.items()}
    failpoints.reach(failpoints.DISK_WRITE)
    (outbox / "metrics.json").write_text(
        json.dumps(metrics, ensure_ascii=False, indent=2, allow_nan=False) + "\n", encoding="utf-8"
    )
    inputs = experiment.inputs
    return {
        "run_id": run.id,
        "name": run.name,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "dataset_digest": inputs.data.digest,
        "base": {
            "name": inputs.source.name,
            "id": inputs.source.reference if inputs.source.revision else None,
            "revision": inputs.source.revision,
            "sha256": weights_sha256,
            "left_out_head": list(experiment.left_out_head),
            **({"made_from": dict(inputs.source.made_from)} if inputs.source.made_from else {}),
        },
        "data": {"name": inputs.data.source["name"], **(inputs.data.source["hub"] or {})},
        "environment": environment,
        "git": metrics["git"],
        "digests": result.digests,
        **({"tables": tables} if tables else {}),
        **({"encoding": experiment.encoding} if experiment.encoding else {}),
        "origin": origin,
    }


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as JSON lines; return the sha256 of the file."""
    failpoints.reach(failpoints.DISK_WRITE)
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _collect_metrics(
    run: Run, experiment: Experiment, result: TrainingResult, environment: dict[str, Any]
) -> dict[str, Any]:
    from finetune30.modeling.devices import peak_memory_bytes

    progress, inputs = result.progress, experiment.inputs
    seconds = max(progress.seconds, 1e-9)
    return {
        **result.metrics,
        "epoch": round(progress.epochs_done, 6),
        "total_steps": progress.global_step,
        "best_metric": progress.best_metric,
        "best_step": progress.best_step,
        "stopped_early": progress.stopped_early,
        "train_runtime": progress.seconds,
        "train_samples": experiment.train_split.row_count,
        "eval_samples": experiment.evaluation_split.row_count,
        "train_samples_per_second": progress.samples / seconds,
        "train_steps_per_second": progress.global_step / seconds,
        "train_tokens_per_second": progress.tokens / seconds,
        **({"supervised_tokens": int(progress.weight)} if experiment.token_ledger else {}),
        "peak_memory_bytes": peak_memory_bytes(inputs.placement.device),
        "trainable_parameters": experiment.engine.trainable_parameters,
        "total_parameters": experiment.engine.total_parameters,
        "engine": experiment.engine.name,
        "micro_batch_size": progress.micro_batch_size,
        "problem_type": inputs.data.problem.name,
        "labels": list(label_names(experiment.problem.targets)),
        "targets": dict(experiment.problem.targets),
        **score_of(inputs.data.problem.score, result.metrics),
        "dataset_digest": inputs.data.digest,
        "evaluation_split": inputs.data.source["eval_split"],
        "replaced": inputs.stand_ins.replaced,
        "replaced_settings": inputs.stand_ins.settings,
        "ledger": inputs.data.ledger,
        **({"token_ledger": experiment.token_ledger} if experiment.token_ledger else {}),
        "evaluation_set_aside": describe_set_aside(inputs.data.ledger, inputs.data.problem.score, result.metrics),
        "truncated": {
            "train": int(experiment.train_split.truncated.sum()),
            "evaluation": int(experiment.evaluation_split.truncated.sum()),
        },
        "run_id": run.id,
        "environment": environment,
        "git": describe_git_state(),
    }


def _save_model(
    folder: Path,
    run: Run,
    experiment: Experiment,
    metrics: dict[str, Any],
    environment: dict[str, Any],
    weights_sha256: str,
    answering: Mapping[str, Any],
) -> None:
    from finetune30.modeling.base import load_tokenizer
    from finetune30.modeling.loadable_adapter import name_base, public_name
    from finetune30.modeling.model_card import build_model_card
    from finetune30.modeling.quantization import plan_quantization
    from finetune30.modeling.saved_targets import save_targets
    from finetune30.modeling.saving import save_tokenizer, self_test_error, validate_saved_tensors
    from finetune30.modeling.travelling import find_travel_faults

    inputs, problem = experiment.inputs, experiment.inputs.data.problem
    quantization = plan_quantization(inputs.config, inputs.source, trains_head=experiment.problem.trains_head)
    failpoints.reach(failpoints.DISK_WRITE)
    try:
        experiment.engine.save_adapter(folder)
    except SafetensorError as error:  # how the library reports a full disk
        raise StorageError(f"cannot write the adapter: {error}", "free space", next_step="resume") from error
    failpoints.reach("result.after_adapter")
    failpoints.reach(failpoints.DISK_WRITE)
    validate_saved_tensors(folder, experiment.engine.published_state())
    name_base(folder, inputs.source)
    save_tokenizer(load_tokenizer(inputs.source), folder)
    base = {"name": public_name(inputs.source), "revision": inputs.source.revision, "sha256": weights_sha256}
    card = experiment.problem.card()
    save_targets(
        folder,
        problem.name,
        experiment.problem.targets,
        inputs.config.data.max_length,
        inputs.data.recipe,
        reading_of(inputs),
        None if quantization is None else quantization.describe(),
        answering,
        base=base,
        threshold=card.threshold,
    )
    facts = {
        "base": public_name(inputs.source),
        "made_from": inputs.source.made_from.get("title"),
        "base_sha256": weights_sha256,
        "revision": inputs.source.revision,
        "hub_data": inputs.data.source["hub"],
        "version": __version__,
        "finished": datetime.now(UTC).date().isoformat(),
        "dataset_digest": inputs.data.digest,
        "train_rows": len(experiment.train_split),
        "evaluation_rows": len(experiment.evaluation_split),
        "steps": metrics["total_steps"],
        "precision": environment["precision"],
        "device": environment["device"],
        "run_id": run.id,
        "replaced": inputs.stand_ins.replaced,
        "left_out_head": experiment.left_out_head,
        "quantization": None if quantization is None else quantization.settings(inputs.placement.dtype_name),
    }
    text = build_model_card(facts, card, build_result_blocks(metrics), inputs.config.as_tree())
    (folder / "README.md").write_text(text, encoding="utf-8")
    if faults := find_travel_faults(folder):
        raise self_test_error(f"its files could not be used on another machine: {'; '.join(faults)}")


def reading_of(inputs: Inputs) -> Reading:
    """Return how the texts of a training were read."""
    from finetune30.modeling.saved_targets import Reading

    allow_empty = inputs.config.data.validation_rules.allow_empty
    return Reading(inputs.data.report["texts"], marks_are_text=True, allow_empty=allow_empty)


def score_of(score: Score, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figure that a run is ranked by, as metrics.json and the database have it."""
    return {
        "score": metrics.get(score.name),
        "score_name": score.name,
        "score_greater_is_better": score.greater_is_better,
        "score_format": score.format,
    }


def _self_test(folder: Path, experiment: Experiment, result: TrainingResult) -> tuple[float, list[str]]:
    """Ask the trained and the saved model about the first evaluation rows, and what else the problem asks again.

    The trained one is given up before the saved one is loaded.
    Returns the largest difference of a logit, and in words what else is the same.
    """
    from finetune30.data.batching import collate
    from finetune30.data.texts import texts_and_pairs
    from finetune30.modeling.saving import logit_tolerance, validate_saved_outputs

    engine, problem, split = experiment.engine, experiment.problem, experiment.evaluation_split
    asked = collate(split, np.arange(min(len(split), _SELF_TEST_ROWS)), engine.pad_token_id)
    trained = problem.probe(engine.outputs(asked), asked.attention_mask)
    # Two copies need twice the memory: a model that fills more than half of a device must still be testable.
    precision = engine.precision
    engine.release()
    texts, pairs = texts_and_pairs(experiment.inputs.data.evaluation)
    first = slice(_SELF_TEST_ROWS)
    predictor = problem.open_saved(folder, experiment.inputs.placement)

    def answer() -> NDArray[np.float32]:
        # A long text may come in more parts than were asked about.
        return predictor.collect(problem.probe, texts[first], pairs and pairs[first])[: len(trained)]

    quantization = experiment.inputs.config.model.quantization
    difference = validate_saved_outputs(answer, trained, precision, quantization)
    if result.repeat is None:
        return difference, []
    return difference, [result.repeat(predictor, logit_tolerance(precision, quantization))]
