"""`ft30 replay`: repeating a finished run from its record, and comparing the two down to the last bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetune30.config import ExperimentConfig
from finetune30.config.loading import load_config
from finetune30.errors import ConflictError, StorageError
from finetune30.files import load_json, load_json_lines, save_json_atomic
from finetune30.service.execution.lineage import save_origin
from finetune30.service.execution.local import FinishedRun, carry_out_locally
from finetune30.service.runs.open_records import open_records, require_records
from finetune30.settings import Settings
from finetune30.store import Run, RunFolder, RunStatus

REPORT = "replay.json"
_SUFFIX = "-replay"
_LONGEST_NAME = 80
#: Parts of keys whose values a clock decides.
_TIMED = ("time", "_runtime", "per_second")
#: Metrics that name the run or its circumstances; those that matter are compared by themselves.
_CIRCUMSTANCES = frozenset(
    {
        "run_id",
        "origin",
        "git",
        "environment",
        "replaced",
        "replaced_settings",
        "peak_memory_bytes",
        "dataset_digest",
    }
)
#: A key that the metrics of every run have since there are scores; what else is recorded since then came with it.
_SINCE_SCORES = "score_name"
#: Everything chosen by the record, so nothing falls back to another model or data set.
_CHOSEN = frozenset({"model.name", "data.dataset_name"})


@dataclass(frozen=True)
class Comparison:
    """What two runs of one record have in common; every list is empty when they are identical.

    `environment` and `inputs` (rows, base model) hold `key: recorded -> now`; `tensors` the largest difference of each
    weight that differs; `states` which of optimizer and random streams differ; `history` and `metrics` the values.
    """

    environment: list[str]
    inputs: list[str]
    tensors: dict[str, float]
    states: list[str]
    history: list[str]
    metrics: list[str]
    predictions: list[str]

    @property
    def identical(self) -> bool:
        """Whether every result is the same."""
        return not (self.tensors or self.states or self.history or self.metrics or self.predictions)

    @property
    def must_be_identical(self) -> bool:
        """Whether nothing excuses a difference: same versions, device and threads."""
        return not self.environment

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON of the report."""
        return {"identical": self.identical, "same_environment": self.must_be_identical, **asdict(self)}


@dataclass(frozen=True)
class Replay:
    """A run, its repetition and how they compare."""

    original: Run
    repeated: FinishedRun
    comparison: Comparison


def replay_locally(reference: str, settings: Settings) -> Replay:
    """Repeat a SUCCEEDED run from its record into a new run and compare the two; the report is kept as replay.json.

    Raises ConflictError for a run that has not succeeded, StorageError when its files are not as published, and what
    ends a training.
    """
    require_records(settings)
    with open_records(settings) as records:
        original = records.store.get(reference)
        folder = records.folder(original)
        config = _load_recorded_config(original, folder)
        run = records.store.create(config, kind="local", results_root=records.results_root, explicit=_CHOSEN)
        save_origin(records.folder(run), replay_of=original.id)
        repeated = carry_out_locally(records, run, settings, _CHOSEN)
        comparison = compare_repetition(folder, records.folder(run))
        report = {"replay_of": original.id, **comparison.as_dict()}
        save_json_atomic(repeated.folder / REPORT, report)
    return Replay(original, repeated, comparison)


def compare_repetition(before: RunFolder, now: RunFolder) -> Comparison:
    """Compare two published runs: every tensor, optimizer, random streams, history, metrics and predictions."""
    recorded, repeated = before.load_manifest(), now.load_manifest()
    old, new = load_json(before.metrics), load_json(now.metrics)
    is_earlier = _SINCE_SCORES not in old
    return Comparison(
        environment=_list_differences(recorded["environment"], repeated["environment"]),
        inputs=_list_differences(_inputs_of(recorded), _inputs_of(repeated)),
        tensors=_compare_tensors(before.final_model, now.final_model),
        states=[name for name, digest in recorded["digests"].items() if repeated["digests"].get(name) != digest],
        history=_compare_histories(load_json_lines(before.history), load_json_lines(now.history), is_earlier),
        metrics=_compare_records(_measured(old), _measured(new), is_earlier),
        predictions=_compare_predictions(before.predictions, now.predictions),
    )


def _load_recorded_config(run: Run, folder: RunFolder) -> ExperimentConfig:
    """Return the published configuration, its commits of the hub included, under a name of its own."""
    if run.status is not RunStatus.SUCCEEDED:
        raise ConflictError(
            f"run {run.id} is {run.status}: only SUCCEEDED runs can be replayed", f"see ft30 runs show {run.id[:8]}"
        )
    if faults := folder.verify():
        raise StorageError(
            f"the record of run {run.id} is not as it was published: {'; '.join(faults)}",
            "restore those files, or train anew",
        )
    tree = load_config(folder.config).config.as_tree()
    tree["experiment_name"] = tree["experiment_name"][: _LONGEST_NAME - len(_SUFFIX)] + _SUFFIX
    # Runs that older versions recorded have the model's commit in the manifest only.
    tree["model"]["revision"] = folder.load_manifest()["base"]["revision"]
    return ExperimentConfig.model_validate(tree)


def _inputs_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {"dataset": manifest["dataset_digest"], "base": manifest["base"]["sha256"]}


def _measured(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in _untimed(metrics).items() if key not in _CIRCUMSTANCES}


def _untimed(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if not any(part in key for part in _TIMED)}


def _compare_records(before: Mapping[str, Any], now: Mapping[str, Any], is_earlier: bool) -> list[str]:
    """Return what differs; a record of an earlier version is compared by what that version recorded."""
    return _list_differences(before, {key: now[key] for key in now if key in before} if is_earlier else now)


def _list_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    from finetune30.training.checkpoints import find_differences

    return [f"{key}: {old} -> {new}" for key, (old, new) in find_differences(before, now).items()]


def _compare_tensors(before: Path, now: Path) -> dict[str, float]:
    """Return the largest absolute difference of every weight that is not equal bit for bit; inf where shapes differ."""
    import torch
    from safetensors.torch import load_file

    recorded, repeated = (load_file(folder / "adapter_model.safetensors") for folder in (before, now))
    found = {}
    for name in sorted(recorded.keys() | repeated.keys()):
        old, new = recorded.get(name), repeated.get(name)
        if old is None or new is None or old.shape != new.shape or old.dtype != new.dtype:
            found[name] = float("inf")
        elif not torch.equal(old, new):
            found[name] = float((old.double() - new.double()).abs().max())
    return found


def _compare_histories(before: list[dict[str, Any]], now: list[dict[str, Any]], is_earlier: bool) -> list[str]:
    """Return how the first record that differs does, and that the lengths differ."""
    found = [] if len(before) == len(now) else [f"records: {len(before)} -> {len(now)}"]
    for old, new in zip(before, now, strict=False):
        if differences := _compare_records(_untimed(old), _untimed(new), is_earlier):
            return [*found, *(f"step {old['step']} {old['type']} {text}" for text in differences)]
    return found


def _compare_predictions(before: Path, now: Path) -> list[str]:
    import polars as pl

    old, new = pl.read_parquet(before), pl.read_parquet(now)
    new = new.select(column for column in old.columns if column in new.columns)  # earlier versions kept no outcome
    if old.equals(new):
        return []
    if old["row_id"].to_list() != new["row_id"].to_list():
        return ["other rows were evaluated"]
    changed = sum(a != b for a, b in zip(old["prediction"].to_list(), new["prediction"].to_list(), strict=True))
    return [f"{changed} of {len(old)} predictions changed, the others by probability only"]
