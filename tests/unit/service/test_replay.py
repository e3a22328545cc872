"""What a repetition is compared by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from finetune30.config import ExperimentConfig
from finetune30.service.execution.replay_verdict import (
    Result,
    _compare_histories,
    _compare_label_orders,
    _compare_metrics,
    _compare_predictions,
    _compare_records,
    _excuse_kernels,
    _measured,
    judge_replay,
)
from finetune30.service.submitting.replay import submit_replay
from finetune30.settings import Settings
from finetune30.store import RunFolder, open_store
from support.published import finish_run, publish_result

OLD = {"eval_mse": 0.5, "run_id": "a", "train_runtime": 1.0}
SINCE = {
    **{"score": 0.5, "score_name": "eval_mse", "score_greater_is_better": False, "targets": {}},
    **{"eval_baseline": {"mse": 2.0}, "eval_residuals": {"edges": [0, 1], "counts": [3]}},
}


def test_record_of_an_earlier_version_is_compared_by_what_that_recorded() -> None:
    repeated = _measured({**OLD, "run_id": "b", **SINCE})
    assert _compare_records(_measured(OLD), repeated, is_earlier=True) == []
    assert _compare_records(_measured(OLD), {**repeated, "eval_mse": 0.6}, is_earlier=True) == ["eval_mse: 0.5 -> 0.6"]
    assert _compare_records(_measured(OLD), {}, is_earlier=True) == ["eval_mse: 0.5 -> None"]


@pytest.mark.parametrize(
    ("device", "deterministic", "excuses"),
    [("cpu", True, 0), ("cuda:0", True, 0), ("cuda:0", False, 1), ("mps", True, 1)],
)
def test_kernels_that_need_not_repeat_excuse_a_difference(device: str, deterministic: bool, excuses: int) -> None:
    """CUDA trains without deterministic kernels unless it is asked to: a difference there is no false record."""
    assert len(_excuse_kernels({"device": device, "deterministic": deterministic})) == excuses


def test_record_of_this_version_is_compared_by_everything() -> None:
    recorded = _measured({**OLD, **SINCE})
    assert _compare_records(recorded, {**recorded, "targets": {"label_names": ["a"]}}, is_earlier=False) == [
        "targets.label_names: None -> ['a']"
    ]


def test_what_is_recorded_of_lines_and_of_rows_set_aside_is_no_difference_to_runs_without_it() -> None:
    ledger = {"files": [], "totals": {"train": {"used": 3}}}
    recorded = {**OLD, **SINCE, "ledger": ledger}
    since = {"ledger": {**ledger, "lines": [{"file": "a.csv"}]}, "evaluation_set_aside": {"rows": 1}}
    repeated = _measured({**recorded, **since})
    assert _compare_records(_measured(recorded), repeated, is_earlier=False) == []
    other = {**repeated, "ledger": {"files": [], "totals": {"train": {"used": 2}}}}
    assert _compare_records(_measured(recorded), other, is_earlier=False) == ["ledger.totals.train.used: 3 -> 2"]


@pytest.mark.parametrize(
    ("is_earlier", "found"), [(True, []), (False, ["step 4 eval eval_baseline: None -> {'mse': 2.0}"])]
)
def test_history_of_an_earlier_version_had_less(is_earlier: bool, found: list[str]) -> None:
    old = {"type": "eval", "step": 4, "eval_mse": 0.5, "time": "x"}
    assert _compare_histories([old], [{**old, "time": "y", "eval_baseline": {"mse": 2.0}}], is_earlier) == found


def test_another_order_of_the_labels_is_named_with_its_cause() -> None:
    (found,) = _compare_label_orders(["no", "yes"], ["yes", "no"], is_earlier=True)
    assert found == (
        "order of the labels: no, yes -> yes, no (that of the head of the base model, which earlier versions did not "
        "follow); weights and outputs follow it"
    )
    (found,) = _compare_label_orders(["no", "yes"], ["yes", "no"], is_earlier=False)
    assert found == "order of the labels: no, yes -> yes, no; weights and outputs follow it"


@pytest.mark.parametrize(("before", "now"), [(["a", "b"], ["a", "b"]), ([], []), (["a", "b"], ["a", "c"])])
def test_the_same_order_and_other_labels_are_no_other_order(before: list[str], now: list[str]) -> None:
    assert _compare_label_orders(before, now, is_earlier=True) == []


def test_answers_to_other_rows_are_not_compared_with_those_of_an_earlier_version() -> None:
    old = {**OLD, **SINCE, "eval_loss": 1.0, "eval_chrf": 0.3, "base_eval_chrf": 0.1, "train_memorised": 0.5}
    since: dict[str, Any] = {**old, "eval_chrf": 0.4, "base_eval_chrf": 0.2, "asked_rows": 20, "train_nothing_new": 0.1}
    since["of_answers"] = ["asked_rows", "base_eval_chrf", "eval_chrf", "train_memorised", "train_nothing_new"]
    assert _compare_metrics(old, since, is_earlier=False) == []
    assert _compare_metrics(old, {**since, "eval_loss": 1.5}, is_earlier=False) == ["eval_loss: 1.0 -> 1.5"]
    assert _compare_metrics({**since, "eval_chrf": 0.3}, since, is_earlier=False) == ["eval_chrf: 0.3 -> 0.4"]


OUTCOMES = {"row_id": ["a", "b", "c"], "outcome": [0.5, None, 2.0], "tokens_right": [1, 2, 3]}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, []),
        ({"outcome": [0.5, 1.0, 2.5]}, ["changed of 3 rows: outcome of 2"]),
        (
            {"outcome": [0.5, None, 2.5], "tokens_right": [0, 0, 0]},
            ["changed of 3 rows: outcome of 1, tokens_right of 3"],
        ),
        ({"row_id": ["a", "b", "d"]}, ["other rows were evaluated"]),
        (
            {"tokens_right": None, "outcome": [1.0, None, 2.0]},
            ["changed of 3 rows: outcome of 1", "tokens_right is missing"],
        ),
    ],
)
def test_rows_without_a_prediction_are_compared_by_every_column(
    tmp_path: Path, changes: dict[str, Any], found: list[str]
) -> None:
    columns = {name: values for name, values in (OUTCOMES | changes).items() if values is not None}
    pl.DataFrame(OUTCOMES).write_parquet(tmp_path / "before.parquet")
    pl.DataFrame(columns).write_parquet(tmp_path / "now.parquet")
    assert _compare_predictions(tmp_path / "before.parquet", tmp_path / "now.parquet") == found


def spoil(name: str, content: bytes = b"x") -> Callable[[RunFolder], object]:
    return lambda folder: (folder.path / name).write_bytes(content)


def remove(name: str) -> Callable[[RunFolder], object]:
    return lambda folder: (folder.path / name).unlink()


WEIGHTS = "artifacts/final_model/adapter_model.safetensors"
DAMAGES = {
    "metrics.json is missing": remove("metrics.json"),
    "predictions.parquet is missing": remove("predictions.parquet"),
    "predictions.parquet has": spoil("predictions.parquet"),
    f"{WEIGHTS} has": spoil(WEIGHTS),
    f"{WEIGHTS} is missing": remove(WEIGHTS),
    "manifest.json is missing or broken": spoil("manifest.json", b"{}"),
}


@pytest.mark.parametrize("fault", ["", *DAMAGES])
def test_a_damaged_original_leaves_the_repetition_without_a_verdict(tmp_path: Path, fault: str) -> None:
    store, results = open_store(f"sqlite:///{tmp_path / 'runs.db'}"), tmp_path / "results"
    run = finish_run(store, ExperimentConfig(), results)
    repeated = RunFolder(tmp_path / "repeated")
    publish_result(repeated, 1, ExperimentConfig())
    if fault:
        DAMAGES[fault](RunFolder(results / run.folder))
    report = judge_replay(store, results, run.id, Result.published(repeated))
    store.close()
    assert report["identical"] is (None if fault else True)
    assert fault in report.get("fault", "")


@pytest.mark.parametrize("is_same", [True, False])
def test_weights_that_were_removed_are_compared_by_their_sha256(tmp_path: Path, is_same: bool) -> None:
    store, results = open_store(f"sqlite:///{tmp_path / 'runs.db'}"), tmp_path / "results"
    run = finish_run(store, ExperimentConfig(), results)
    repeated = RunFolder(tmp_path / "repeated")
    publish_result(repeated, 1, ExperimentConfig())
    RunFolder(results / run.folder).remove_model("its model was removed")
    if not is_same:
        (repeated.path / WEIGHTS).write_bytes(b"x")
    report = judge_replay(store, results, run.id, Result.published(repeated))
    store.close()
    assert report["identical"] is is_same
    assert report["tensors"] == ({} if is_same else {"adapter_model.safetensors": None})


class Silent:
    """A queue that loses every message."""

    def publish(self, run_id: str) -> None:
        """Send nothing."""


def test_a_run_made_by_hand_is_repeated_by_the_services(tmp_path: Path) -> None:
    settings = Settings(results_folder=tmp_path / "results", submitted_folder=tmp_path / "config")
    store = open_store(settings.resolved_database_url)
    made = ExperimentConfig.model_validate(
        {"experiment_name": "評" * 66, "training": {"output_dir": "../elsewhere/results"}}
    )
    run = finish_run(store, made, settings.results_folder)
    submitted = submit_replay(store, run, settings, publisher=Silent(), priority=-3).run
    store.close()
    assert (submitted.name, submitted.priority) == ("評" * 64 + "-replay", -3)  # 199 bytes of 200
    assert submitted.config["training"]["output_dir"] == "results"
    assert submitted.config_digest == run.config_digest
