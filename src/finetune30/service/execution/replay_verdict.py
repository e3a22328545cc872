"""Whether the repetition of a run came out the same: the two compared down to the last bit.

A repetition is judged before it is published, so its verdict is part of its result: `replay.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune30.errors import NotFoundError, StorageError
from finetune30.files import disk_errors, load_json, load_json_lines, sha256_of
from finetune30.store import RunFolder, RunStore
from finetune30.training.problem import OF_ANSWERS

if TYPE_CHECKING:
    import polars as pl

#: Parts of keys whose values a clock decides.
_TIMED = ("time", "_runtime", "per_second")
#: Metrics that name the run or its circumstances; those that matter are compared by themselves.
_CIRCUMSTANCES = frozenset(
    {"run_id", "origin", "git", "environment", "replaced", "peak_memory_bytes", "dataset_digest"}
    | {"replaced_settings"}
    # Made of the ledger, the metrics and the predictions, which are compared.
    | {
        "evaluation_groups",
        "evaluation_set_aside",
        "eval_calibration",
        "eval_thresholds",
        "eval_risk_coverage",
        "eval_abstention",
    }
)
_WEIGHTS = "adapter_model.safetensors"
#: A key that the metrics of every run have since there are scores; what else is recorded since then came with it.
_SINCE_SCORES = "score_name"


@dataclass(frozen=True)
class Comparison:
    """What two runs of one record have in common; every list is empty when they are identical.

    `environment` and `inputs` (rows, base model, order of the labels) hold `key: recorded -> now`, and the environment
    also why equal ones may come out differently; `tensors` the largest difference of each weight that differs, None
    where shape or type do, or where the recorded ones were removed; `states` which of optimizer and random
    streams differ; `history` and `metrics` the values; `predictions` how many rows changed, answers on record too.
    """

    environment: list[str]
    inputs: list[str]
    tensors: dict[str, float | None]
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
        """Whether nothing excuses a difference: same versions, device and threads, and kernels that repeat."""
        return not self.environment

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON of the report."""
        return {"identical": self.identical, "same_environment": self.must_be_identical, **asdict(self)}


@dataclass(frozen=True)
class Result:
    """What is compared of a run: `facts` are those of its manifest."""

    facts: Mapping[str, Any]
    metrics: Mapping[str, Any]
    final_model: Path
    history: Path
    predictions: Path

    @classmethod
    def published(cls, folder: RunFolder) -> Result:
        """Return that of a run that SUCCEEDED. Raises NotFoundError, StorageError."""
        return cls(
            folder.load_manifest(), load_json(folder.metrics), folder.final_model, folder.history, folder.predictions
        )


def judge_replay(store: RunStore, results_root: Path, replay_of: str, repeated: Result) -> dict[str, Any]:
    """Return the report on a repetition: `identical` is None where the original is gone or not as it was published."""
    try:
        folder = RunFolder(results_root / store.get(replay_of).folder)
        with disk_errors(f"cannot read the result of run {replay_of[:8]}"):
            if faults := folder.verify():
                raise StorageError(f"the record of run {replay_of[:8]} is not as it was published: {'; '.join(faults)}")
            comparison = compare_results(Result.published(folder), repeated)
    except (NotFoundError, StorageError) as error:
        return {"replay_of": replay_of, "identical": None, "same_environment": None, "fault": error.message}
    return {"replay_of": replay_of, **comparison.as_dict()}


def compare_results(before: Result, now: Result) -> Comparison:
    """Compare every tensor, optimizer, random streams, history, metrics and predictions of two runs."""
    recorded, repeated, old, new = before.facts, now.facts, before.metrics, now.metrics
    is_earlier = _SINCE_SCORES not in old
    return Comparison(
        environment=[
            *_list_differences(recorded["environment"], repeated["environment"]),
            *_excuse_kernels(repeated["environment"]),
        ],
        inputs=[
            *_compare_inputs(recorded, repeated),
            *_compare_label_orders(old["labels"], new["labels"], is_earlier),
        ],
        tensors=_compare_weights(before, now),
        states=[name for name, digest in recorded["digests"].items() if repeated["digests"].get(name) != digest],
        history=_compare_histories(load_json_lines(before.history), load_json_lines(now.history), is_earlier),
        metrics=_compare_metrics(old, new, is_earlier),
        predictions=[*_compare_predictions(before.predictions, now.predictions), *_compare_tables(before, now)],
    )


def _excuse_kernels(environment: Mapping[str, Any]) -> list[str]:
    """Return why kernels need not repeat themselves to the bit, where that is so."""
    if not environment["deterministic"]:
        return ["training.deterministic is off: kernels add in another order each time"]
    if environment["device"] == "mps":  # PyTorch warns of some of its kernels there and refuses none
        return ["device mps: that its kernels repeat themselves was never shown"]
    return []


def _inputs_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    encoding = manifest.get("encoding", {})
    return {"dataset": manifest["dataset_digest"], "base": manifest["base"]["sha256"], "encoding": encoding}


def _compare_inputs(recorded: Mapping[str, Any], repeated: Mapping[str, Any]) -> list[str]:
    """Return which inputs differ; what an earlier version did not record of the encoding is not compared."""
    before, now = _inputs_of(recorded), _inputs_of(repeated)
    if not before["encoding"]:
        del before["encoding"], now["encoding"]
    return _list_differences(before, now)


def _compare_label_orders(before: list[str], now: list[str], is_earlier: bool) -> list[str]:
    """Return how the same labels stand in another order: every output of theirs is another's, then."""
    if before == now or sorted(before) != sorted(now):
        return []
    why = " (that of the head of the base model, which earlier versions did not follow)" if is_earlier else ""
    return [f"order of the labels: {', '.join(before)} -> {', '.join(now)}{why}; weights and outputs follow it"]


def _compare_metrics(old: Mapping[str, Any], new: Mapping[str, Any], is_earlier: bool) -> list[str]:
    """Return which metrics differ, without those of answers where the record does not name them (OF_ANSWERS)."""
    before, now = _measured(old), _measured(new)
    if OF_ANSWERS not in before:
        left_out = {OF_ANSWERS, *now.get(OF_ANSWERS, ())}
        before, now = ({key: found[key] for key in found if key not in left_out} for found in (before, now))
    return _compare_records(before, now, is_earlier)


def _measured(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is compared; of the ledger the rows, as the lines of a file are no part of what was learnt."""
    found = {key: value for key, value in _untimed(metrics).items() if key not in _CIRCUMSTANCES}
    if isinstance(ledger := found.get("ledger"), Mapping):
        found["ledger"] = {key: value for key, value in ledger.items() if key != "lines"}
    return found


def _untimed(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if not any(part in key for part in _TIMED)}


def _compare_records(before: Mapping[str, Any], now: Mapping[str, Any], is_earlier: bool) -> list[str]:
    """Return what differs; a record of an earlier version is compared by what that version recorded."""
    return _list_differences(before, {key: now[key] for key in now if key in before} if is_earlier else now)


def _list_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    from finetune30.training.checkpoints import find_differences

    return [f"{key}: {old} -> {new}" for key, (old, new) in find_differences(before, now).items()]


def _compare_weights(before: Result, now: Result) -> dict[str, float | None]:
    """Return which weights differ; of a model that was removed (`keep: best`) only the sha256 of its file is left."""
    if (before.final_model / _WEIGHTS).is_file():
        return _compare_tensors(before.final_model / _WEIGHTS, now.final_model / _WEIGHTS)
    recorded = before.facts["files"][f"artifacts/final_model/{_WEIGHTS}"]["sha256"]
    return {} if sha256_of(now.final_model / _WEIGHTS) == recorded else {_WEIGHTS: None}


def _compare_tensors(before: Path, now: Path) -> dict[str, float | None]:
    """Return the largest absolute difference of each weight that is not equal bit for bit; None where shapes differ."""
    import torch
    from safetensors.torch import load_file

    recorded, repeated = load_file(before), load_file(now)
    found: dict[str, float | None] = {}
    for name in sorted(recorded.keys() | repeated.keys()):
        old, new = recorded.get(name), repeated.get(name)
        if old is None or new is None or old.shape != new.shape or old.dtype != new.dtype:
            found[name] = None
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
    changed = {name: _count_changed(old[name], new[name]) for name in old.columns if name in new.columns}
    if "prediction" in changed:
        return [f"{changed['prediction']} of {len(old)} predictions changed, the others by probability only"]
    listed = ", ".join(f"{name} of {count}" for name, count in changed.items() if count)
    missing = [f"{name} is missing" for name in old.columns if name not in new.columns]
    return [*([f"changed of {len(old)} rows: {listed}"] if listed else []), *missing]


def _compare_tables(before: Result, now: Result) -> list[str]:
    """Return how many rows of each table beside the metrics differ; an earlier version's manifest names no table."""
    repeated = now.facts.get("tables", {})
    found = []
    for name, digest in before.facts.get("tables", {}).items():
        if repeated.get(name) == digest:
            continue
        old, new = (load_json_lines(result.predictions.with_name(f"{name}.jsonl")) for result in (before, now))
        changed = sum(one != other for one, other in zip_longest(old, new))
        found.append(f"{name}: {changed} of {max(len(old), len(new))} rows changed")
    return found


def _count_changed(before: pl.Series, now: pl.Series) -> int:
    return int(before.ne_missing(now).sum())
