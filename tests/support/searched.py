"""Searches and learning curves whose runs have rows, as if they had been trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from finetune30.config import ExperimentConfig
from finetune30.config.search_loading import validate_search
from finetune30.service.searches.changing import write_search
from finetune30.service.searches.plans import SearchPlan
from finetune30.service.searches.space import Space
from finetune30.service.sets.handing_in import write_set
from finetune30.service.sets.plans import Plan, config_of
from finetune30.store import Run, RunStore
from finetune30.store.run_sets import RunSet
from finetune30.store.search_members import key_of_trial
from finetune30.store.searches import Search, TrialState, finish_trial, list_trials, record_trial

ROWS = 400
PARAMETERS = {
    "training.learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log"},
    "lora.target_modules": {"values": [["q_lin", "v_lin"], "all-linear"]},
}


def make_search(store: RunStore, name: str = "sought", **search: Any) -> Search:
    """Record a search of queued trials; nothing is handed in."""
    config = ExperimentConfig.model_validate({"experiment_name": name})
    given = {"seed": 7, "trials": 20, "parameters": PARAMETERS, "confirm": {"seeds": 3}, **search}
    plan = SearchPlan(config, frozenset(), "0" * 64, validate_search(given), "eval_accuracy", greater_is_better=True)
    return write_search(store, plan, kind="queued")


def try_trials(
    store: RunStore, results: Path, search: Search, right: Sequence[int | None], *, metric_off: float = 0.0
) -> None:
    """Write trials that have so many of `ROWS` rows right, None: whose run waits.

    `metric_off`: how far their metric lies from the share of right rows.
    """
    config = ExperimentConfig.model_validate(search.config)
    space = Space(config, validate_search(search.spec))
    for number, count in enumerate(right):
        values: dict[str, Any] = {} if number == 0 else {
            "training.learning_rate": 1e-4 * 1.05**number, "lora.target_modules": "all-linear"
        }  # fmt: skip
        record_trial(store, search.id, number, labels=None, parameters=values, versions={})
        own = config if number == 0 else space.apply(values, number)
        run = store.create(own, kind="queued", results_root=results, idempotency_key=key_of_trial(search.id, number))
        if count is None:
            continue
        value = count / ROWS + metric_off
        _succeed(store, results, run, count, number, {"eval_accuracy": value})
        finish_trial(store, list_trials(store, search.id)[number], TrialState.DONE, value)


def make_curve(store: RunStore, results: Path, name: str, right: Mapping[float, Sequence[int | None]]) -> RunSet:
    """Record a learning curve of queued runs; `right`: by share how many of `ROWS` rows each has right, None: waits."""
    config = ExperimentConfig.model_validate({"experiment_name": name})
    own = [(share, seed, count) for share, counts in right.items() for seed, count in enumerate(counts, 42)]
    entries = tuple(
        {"number": number, "seed": seed, "dataset_digest": "0" * 64, "share": share, "rows": round(1000 * share)}
        for number, (share, seed, _) in enumerate(own, 1)
    )
    found = write_set(store, Plan("curve", config, entries, frozenset(), "0" * 64))
    for number, (_, _, count) in enumerate(own, 1):
        key = found.key_of(number)
        run = store.create(
            config_of(config, entries[number - 1]), kind="queued", results_root=results, idempotency_key=key
        )
        if count is not None:
            score = {"score_name": "eval_accuracy", "score": count / ROWS, "score_greater_is_better": True}
            asked = {"problem_type": "single_label_classification", "targets": {"label_names": ["a", "b"]}}
            _succeed(store, results, run, count, number, {**asked, **score, "eval_accuracy": count / ROWS})
    return found


def _succeed(store: RunStore, results: Path, run: Run, count: int, number: int, metrics: dict[str, Any]) -> None:
    """Let a run succeed that has so many rows right, other ones for each number."""
    claim = store.claim(run.id, lease_seconds=60)
    assert claim is not None
    outcome = [(row * 7 + number * 13) % ROWS < count for row in range(ROWS)]
    frame = pl.DataFrame(
        {
            "row_id": [f"{row:03}" for row in range(ROWS)],
            "label": ["a"] * ROWS,
            "prediction": ["a" if is_right else "b" for is_right in outcome],
            "outcome": outcome,
        }
    )
    (results / run.folder).mkdir(parents=True, exist_ok=True)
    frame.write_parquet(results / run.folder / "predictions.parquet")
    store.succeed(claim, metrics, "f" * 64)
