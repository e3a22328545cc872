"""What a run will take, judged by its configuration and by the runs that were finished before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from finetune30.config import ExperimentConfig
from finetune30.data.starter import is_starter
from finetune30.modeling.sizes import count_parameters, count_quantized
from finetune30.service.submitting.expected_rows import expect_rows
from finetune30.store import Run, RunFilter, RunStatus, RunStore

#: Finished runs that are looked at, the newest.
MOST_RUNS = 200

#: A trained parameter and its gradient, and AdamW's two moments of it, in float32.
_TRAINED_BYTES = 16
#: A quantised weight, by `model.quantization`. Of 4 bits, 64 share a scale of 8 bits, and 256 scales one of 32 (QLoRA,
#: Dettmers et al. 2023, section 3); of 8 bits, a row shares one of 32, which is nothing.
_QUANTIZED_BYTES = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0}

#: What decides how much is trained.
_ADAPTER_KEYS = ("r", "target_modules", "bias", "use_dora", "modules_to_save", "trainable_token_indices")
#: Section, key, and what a run had whose record is older than the key.
_LOAD_KEYS = (
    ("training", "per_device_train_batch_size", None),
    ("training", "gradient_accumulation_steps", None),
    ("training", "processes", 1),
    ("training", "precision", "auto"),
    ("model", "quantization", None),
    ("data", "max_length", None),
)


def estimate_run(config: ExperimentConfig, store: RunStore, data_folder: Path | None = None) -> dict[str, Any]:
    """Return rows, steps, parameters, memory_bytes, least_memory_bytes, seconds, based_on_runs; null: nothing to go by.

    Rows are those to train on: as the configuration says, else those of a run that used all of the same data, of the
    version, or the lines of the file that a configuration names.
    Parameters come from runs with the same model and adapter, else from the weights where they lie on this machine;
    memory and time from those runs with the same batch, length, precision and kind of device (where none is named, that
    of the newest run that found its own), time at the median of their speed (rows a second).
    The least memory is that of weights, gradients and optimizer state; activations and libraries come on top.
    """
    found = store.find(
        RunFilter(statuses=frozenset({RunStatus.SUCCEEDED}), model_name=config.model.name, limit=MOST_RUNS)
    )
    alike = [run for run in found if run.metrics and _same_adapter(run, config)]
    as_fast = _on_same_device([run for run in alike if _same_load(run, config)], config)
    speed = _median(as_fast, "train_samples_per_second")
    known = config.data.train_samples or expect_rows(config.data, store, data_folder)
    rows = _rows_to_train(config, known)
    counted = None if alike else count_parameters(config.model, config.lora, data_folder)
    trainable = counted[1] if counted else _first(alike, "trainable_parameters")
    total = counted[0] if counted else _first(alike, "total_parameters")
    quantized = count_quantized(config.model, config.lora, data_folder) if config.model.quantization else 0
    return {
        "rows": known,
        "steps": _count_steps(config, known),
        "trainable_parameters": trainable,
        "total_parameters": total,
        "memory_bytes": _median(as_fast, "peak_memory_bytes"),
        "least_memory_bytes": _least_memory(total, trainable, quantized, config),
        "seconds": rows / speed if rows and speed else None,
        "based_on_runs": len(as_fast),
    }


def _least_memory(
    total: int | None, trainable: int | None, quantized: int | None, config: ExperimentConfig
) -> int | None:
    """Bytes of the parameters alone; precision auto may turn out as the smaller number format."""
    if total is None or trainable is None or quantized is None:
        return None
    frozen_bytes = 4 if config.training.precision == "fp32" else 2
    whole = total - trainable - quantized
    return round(
        whole * frozen_bytes
        + quantized * _QUANTIZED_BYTES.get(config.model.quantization or "", 0)
        + trainable * _TRAINED_BYTES
    )


def _count_steps(config: ExperimentConfig, known: int | None) -> int | None:
    training = config.training
    if known is None:
        return training.max_steps
    steps = math.ceil(known / _rows_of_step(config)) * training.num_train_epochs
    return min(steps, training.max_steps or steps)


def _rows_to_train(config: ExperimentConfig, known: int | None) -> int | None:
    steps = _count_steps(config, known)
    training = config.training
    if steps is None:
        return None
    rows = steps * _rows_of_step(config)
    return rows if known is None else min(rows, known * training.num_train_epochs)


def _rows_of_step(config: ExperimentConfig) -> int:
    training = config.training
    return training.per_device_train_batch_size * training.gradient_accumulation_steps * training.processes


def _same_adapter(run: Run, config: ExperimentConfig) -> bool:
    lora: dict[str, Any] = config.as_tree()["lora"]
    then = run.config.get("lora") or {}
    return all(then.get(key) == lora[key] for key in _ADAPTER_KEYS)


def _same_load(run: Run, config: ExperimentConfig) -> bool:
    now = config.as_tree()
    same_data = is_starter(config.data.dataset_name) == is_starter(str(_section(run, "data").get("dataset_name")))
    return same_data and all(
        _section(run, section).get(key, before) == now[section][key] for section, key, before in _LOAD_KEYS
    )


def _on_same_device(runs: Sequence[Run], config: ExperimentConfig) -> list[Run]:
    """Return the runs on the kind of device that this one would train on: other kinds count memory and time apart."""
    kind = _named_kind(config.training.device)
    if kind is None:
        kind = next((_kind(run) for run in runs if _named_kind(_section(run, "training").get("device")) is None), None)
    return [run for run in runs if _kind(run) == kind]


def _named_kind(device: str | None) -> str | None:
    return None if device in (None, "auto") else device.partition(":")[0]


def _kind(run: Run) -> str:
    return (run.device or "").partition(":")[0]


def _section(run: Run, name: str) -> dict[str, Any]:
    found: dict[str, Any] = run.config.get(name) or {}
    return found


def _first(runs: Sequence[Run], key: str) -> Any:
    return next((run.metrics[key] for run in runs if run.metrics and run.metrics.get(key) is not None), None)


def _median(runs: Sequence[Run], key: str) -> float | None:
    values = [run.metrics[key] for run in runs if run.metrics and isinstance(run.metrics.get(key), int | float)]
    return median(values) if values else None
