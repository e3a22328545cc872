"""The step to r0005: databases of the revision before get a score for every finished run, whatever it learnt."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, text

from finetune30.store import RunFilter, open_store
from finetune30.store.database import build_engine, writing
from finetune30.store.schema import migrate
from support.migrations import schema_of, step_to

pytestmark = pytest.mark.integration

BEFORE = "r0004_access"
#: Columns and metrics of runs as the release before wrote them, and the score that they have.
OLD_RUNS: dict[str, tuple[str, dict[str, Any] | None, tuple[float | None, str | None, bool | None]]] = {
    "single": ("SUCCEEDED", {"eval_accuracy": 0.875, "eval_f1": 0.8}, (0.875, "eval_accuracy", True)),
    "perfect": ("SUCCEEDED", {"eval_accuracy": 1, "eval_f1": 1}, (1.0, "eval_accuracy", True)),
    "zero": ("SUCCEEDED", {"eval_accuracy": 0.0, "eval_f1": 0.0}, (0.0, "eval_accuracy", True)),
    "multi": (
        "SUCCEEDED",
        {"eval_accuracy": 0.5, "eval_f1": 0.625, "eval_f1_micro": 0.75},
        (0.625, "eval_f1", True),
    ),
    "regression": ("SUCCEEDED", {"eval_mse": 0.25, "eval_mae": 0.5, "eval_pearson": None}, (0.25, "eval_mse", False)),
    "whole error": ("SUCCEEDED", {"eval_mse": 2}, (2.0, "eval_mse", False)),
    "broken error": ("SUCCEEDED", {"eval_mse": "nan"}, (None, None, None)),
    "nothing": ("SUCCEEDED", {"train_runtime": 3.5}, (None, None, None)),
    "failed": ("FAILED", None, (None, None, None)),
    "waiting": ("QUEUED", None, (None, None, None)),
}


def make_database_of_before(database_url: str) -> Engine:
    """Make the schema of the revision before, with one row for each of OLD_RUNS."""
    engine = build_engine(database_url)
    step_to(engine, "upgrade", BEFORE)
    with writing(engine) as connection:
        for number, (name, (status, metrics, _)) in enumerate(OLD_RUNS.items()):
            columns = {key: (metrics or {}).get(key) for key in ("eval_accuracy", "eval_f1")}
            tree = None if metrics is None else json.dumps(metrics)
            connection.execute(
                text(
                    "INSERT INTO runs (id, name, name_key, status, kind, attempt, failures, cancel_requested, priority,"
                    " folder, config, config_digest, dataset_digest, created_at, queued_at, submitted_by,"
                    " eval_accuracy, eval_f1, metrics) VALUES (:id, :name, :name, :status, 'local', 1, 0, false, 0,"
                    " :name, '{}', 'c', 'd', :moment, :moment, '', :eval_accuracy, :eval_f1, :metrics)"
                ),
                {
                    "id": f"{number:032x}",
                    "name": name,
                    "status": status,
                    "moment": f"2026-01-02 03:04:{number:02}.000000",
                    "metrics": tree,
                    **columns,
                },
            )
    return engine


def test_finished_runs_get_the_score_of_their_metrics(database_url: str) -> None:
    make_database_of_before(database_url).dispose()
    store = open_store(database_url)
    found = {run.name: run for run in store.find(RunFilter())}
    scores = {name: (run.score, run.score_name, run.score_greater_is_better) for name, run in found.items()}
    assert scores == {name: score for name, (_, _, score) in OLD_RUNS.items()}
    formats = {"eval_accuracy": "percent", "eval_f1": "percent", "eval_mse": "number", None: None}
    assert {run.name: run.score_format for run in found.values()} == {
        name: formats[score] for name, (_, _, (_, score, _)) in OLD_RUNS.items()
    }
    assert (found["multi"].eval_accuracy, found["multi"].eval_f1) == (0.5, 0.625)
    by_score = [run.name for run in store.find(RunFilter(sort_by="score"))]
    assert by_score[:6] == ["regression", "whole error", "multi", "perfect", "single", "zero"]
    assert {(best.score_name, best.run_name) for best in store.stats().best} == {
        ("eval_mse", "regression"),
        ("eval_f1", "multi"),
        ("eval_accuracy", "perfect"),
    }
    store.close()


def test_a_second_opening_changes_nothing(database_url: str) -> None:
    engine = make_database_of_before(database_url)
    migrate(engine)
    with writing(engine) as connection:  # what the step would do to this row again
        connection.execute(text("UPDATE runs SET score = 0.5 WHERE name = 'single'"))
    seen = schema_of(engine)
    migrate(engine)
    assert schema_of(engine) == seen
    engine.dispose()
    store = open_store(database_url)
    assert store.get("single").score == 0.5
    store.close()


def test_many_may_take_the_step_at_the_same_time(database_url: str) -> None:
    make_database_of_before(database_url).dispose()

    def open_and_count(_: int) -> tuple[int, float | None]:
        store = open_store(database_url)
        try:
            return store.count(RunFilter(score_name="eval_mse")), store.get("regression").score
        finally:
            store.close()

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(open_and_count, range(8))) == {(2, 0.25)}


def test_the_step_back_leaves_the_schema_of_before(database_url: str) -> None:
    engine = make_database_of_before(database_url)
    before = schema_of(engine)
    migrate(engine)
    step_to(engine, "downgrade", "r0005_score")  # what later revisions added is not meant here
    columns, indexes = schema_of(engine)
    assert columns - before[0] == {f"score{part}" for part in ("", "_name", "_greater_is_better", "_rank", "_format")}
    assert {name.split()[0] for name in indexes} - {name.split()[0] for name in before[1]} == {
        "ix_runs_by_score",
        "ix_runs_best",
    }
    step_to(engine, "downgrade", BEFORE)
    assert schema_of(engine) == before
    engine.dispose()
