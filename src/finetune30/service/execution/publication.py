"""The result of a run, staged in the attempt's outbox: model, metrics, predictions; tested before it counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from finetune30 import __version__, failpoints
from finetune30.errors import StorageError
from finetune30.service.execution.exactness import describe_git_state
from finetune30.service.execution.experiment import Experiment
from finetune30.service.runs.blocks import build_result_blocks
from finetune30.store.records import Run

if TYPE_CHECKING:
    from finetune30.training.progress import TrainingResult

#: Evaluation rows on which the saved model must answer like the trained one.
_SELF_TEST_ROWS = 16


def stage_result(
    outbox: Path,
    run: Run,
    experiment: Experiment,
    result: TrainingResult,
    environment: dict[str, Any],
    origin: dict[str, Any] | None,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Write artifacts/final_model, predictions.parquet and metrics.json, and test the saved model.

    Returns the facts for the manifest. Raises SelfTestError when the saved model is not the trained one.
    """
    final_model = outbox / "artifacts" / "final_model"
    final_model.mkdir(parents=True, exist_ok=True)
    metrics = _collect_metrics(run, experiment, result, environment) | {"origin": origin}
    _save_model(final_model, run, experiment, metrics, environment)
    difference = _self_test(final_model, experiment, result.evaluation_logits)
    log(f"self-test: the saved model, loaded afresh, answers as trained (largest logit difference {difference:.2g})")
    metrics["self_test_logit_difference"] = difference
    failpoints.reach(failpoints.DISK_WRITE)
    _save_predictions(outbox / "predictions.parquet", experiment, result.evaluation_logits)
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
            "sha256": inputs.source.weights_digest(),
        },
        "data": {"name": inputs.data.source["name"], **(inputs.data.source["hub"] or {})},
        "environment": environment,
        "git": metrics["git"],
        "digests": result.digests,
        "origin": origin,
    }


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
        "train_samples": len(experiment.train_split),
        "eval_samples": len(experiment.evaluation_split),
        "train_samples_per_second": progress.samples / seconds,
        "train_steps_per_second": progress.global_step / seconds,
        "train_tokens_per_second": progress.tokens / seconds,
        "peak_memory_bytes": peak_memory_bytes(inputs.placement.device),
        "trainable_parameters": experiment.engine.trainable_parameters,
        "total_parameters": experiment.engine.total_parameters,
        "engine": experiment.engine.name,
        "micro_batch_size": progress.micro_batch_size,
        "problem_type": experiment.task.problem_type,
        "labels": list(experiment.task.label_names),
        "dataset_digest": inputs.data.digest,
        "replaced": inputs.replaced,
        "ledger": inputs.data.ledger,
        "truncated": {
            "train": int(experiment.train_split.truncated.sum()),
            "evaluation": int(experiment.evaluation_split.truncated.sum()),
        },
        "run_id": run.id,
        "environment": environment,
        "git": describe_git_state(),
    }


def _save_model(
    folder: Path, run: Run, experiment: Experiment, metrics: dict[str, Any], environment: dict[str, Any]
) -> None:
    from finetune30.modeling.base import load_tokenizer
    from finetune30.modeling.model_card import build_model_card
    from finetune30.modeling.saving import save_labels, validate_saved_tensors

    inputs, task = experiment.inputs, experiment.task
    failpoints.reach(failpoints.DISK_WRITE)
    try:
        experiment.engine.save_adapter(folder)
    except SafetensorError as error:  # how the library reports a full disk
        raise StorageError(f"cannot write the adapter: {error}", "free space", next_step="resume") from error
    failpoints.reach("result.after_adapter")
    failpoints.reach(failpoints.DISK_WRITE)
    validate_saved_tensors(folder, experiment.engine.adapter_state())
    load_tokenizer(inputs.source).save_pretrained(str(folder))
    save_labels(
        folder,
        task.problem_type,
        task.label_names,
        inputs.config.data.max_length,
        remove_html=inputs.config.data.validation_rules.remove_html,
    )
    facts = {
        "base": inputs.source.reference if inputs.source.revision else inputs.source.name,
        "revision": inputs.source.revision,
        "hub_data": inputs.data.source["hub"],
        "problem_type": task.problem_type,
        "label_names": list(task.label_names),
        "version": __version__,
        "finished": datetime.now(UTC).date().isoformat(),
        "dataset_digest": inputs.data.digest,
        "train_rows": len(experiment.train_split),
        "evaluation_rows": len(experiment.evaluation_split),
        "steps": metrics["total_steps"],
        "precision": environment["precision"],
        "device": environment["device"],
        "run_id": run.id,
        "replaced": inputs.replaced,
    }
    card = build_model_card(facts, build_result_blocks(metrics), inputs.config.as_tree())
    (folder / "README.md").write_text(card, encoding="utf-8")


def _self_test(folder: Path, experiment: Experiment, logits: NDArray[np.float32]) -> float:
    from finetune30.modeling.predictor import Predictor
    from finetune30.modeling.saving import validate_saved_logits

    rows = experiment.inputs.data.evaluation.head(_SELF_TEST_ROWS)
    texts, pairs = rows["text"].to_list(), rows["text_pair"].to_list()
    predictor = Predictor(folder, experiment.inputs.placement)

    def answer() -> NDArray[np.float32]:
        return predictor.answer_logits(texts, pairs if pairs[0] is not None else None)

    return validate_saved_logits(answer, logits[: len(texts)], experiment.engine.precision)


def _save_predictions(path: Path, experiment: Experiment, logits: NDArray[np.float32]) -> None:
    """Columns: row_id, label, prediction (names, or numbers for regression), probabilities (or the value)."""
    import polars as pl

    from finetune30.training.metrics import probabilities

    task, split = experiment.task, experiment.evaluation_split
    names = np.asarray(task.label_names, dtype=object)
    if task.problem_type == "regression":
        labels, predicted = split.labels.tolist(), logits.reshape(-1).tolist()
    elif task.problem_type == "single_label_classification":
        labels, predicted = names[split.labels].tolist(), names[logits.argmax(axis=-1)].tolist()
    else:
        labels = [names[row > 0.5].tolist() for row in split.labels]
        predicted = [names[row > 0].tolist() for row in logits]
    frame = pl.DataFrame(
        {
            "row_id": split.row_ids,
            "label": labels,
            "prediction": predicted,
            "probabilities": probabilities(logits, task.problem_type).tolist(),
        }
    )
    frame.write_parquet(path)
