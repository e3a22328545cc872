"""How many rows a training on all of its data will have, before they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune30.config import STARTER, STARTER_CHAT, STARTER_ZH, DataConfig, ExperimentConfig
from finetune30.data.prepare import prepare_data, record_version
from finetune30.data.starter import load_starter
from finetune30.data.versions.storage import VersionStore
from finetune30.problems import choose_problem
from finetune30.service.submitting.estimate import estimate_run
from finetune30.service.submitting.expected_rows import expect_rows
from finetune30.store import RunStore, open_store


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return open_store(f"sqlite:///{tmp_path / 'runs.db'}")


def config_of(**data: Any) -> ExperimentConfig:
    training = {"per_device_train_batch_size": 8, "num_train_epochs": 2}
    return ExperimentConfig.model_validate({"model": {"name": "starter"}, "data": data, "training": training})


def test_lines_of_a_file_are_counted(tmp_path: Path, store: RunStore) -> None:
    table, lines = tmp_path / "rows.csv", tmp_path / "rows.jsonl"
    table.write_text("text,label\n" + "a,b\n" * 1000, encoding="utf-8")
    lines.write_text('{"text": "a"}\n' * 1000, encoding="utf-8")
    # a tenth is split off for the evaluation unless there is a file for it
    assert expect_rows(DataConfig(dataset_name=str(table)), store, None) == 900
    assert expect_rows(DataConfig(dataset_name=str(lines), eval_fraction=0.5), store, None) == 500
    assert expect_rows(DataConfig(dataset_name=str(table), eval_file="eval.csv"), store, None) == 1000
    assert expect_rows(DataConfig(dataset_name=str(table), test_fraction=0.2), store, None) == 720
    estimate = estimate_run(config_of(dataset_name=str(table)), store)
    assert (estimate["rows"], estimate["steps"]) == (900, 226)  # 2 epochs of 113 steps of 8 rows


@pytest.mark.parametrize("name", [STARTER, STARTER_ZH, STARTER_CHAT])
def test_the_data_of_the_package_know_their_rows_before_any_run(store: RunStore, name: str) -> None:
    rows = sum(table.frame.height for table in load_starter(name)["train"])
    assert expect_rows(DataConfig(dataset_name=name), store, None) == rows > 0


def test_a_limit_comes_before_what_the_file_has(tmp_path: Path, store: RunStore) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "a,b\n" * 1000, encoding="utf-8")
    estimate = estimate_run(config_of(dataset_name=str(path), train_samples=64), store)
    assert (estimate["rows"], estimate["steps"]) == (64, 16)


def test_what_nothing_tells_is_not_guessed(tmp_path: Path, store: RunStore) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    unreadable = str(tmp_path / ("a" * 300 + ".csv"))  # a name that no file can have
    for name in (
        "imdb",
        unreadable,
        str(tmp_path),
        str(tmp_path / "rows.parquet"),
        str(tmp_path / "none.csv"),
        "version:none",
    ):
        assert expect_rows(DataConfig(dataset_name=name), store, tmp_path) is None
    assert estimate_run(config_of(dataset_name="imdb"), store)["steps"] is None


def test_a_version_knows_its_rows(tmp_path: Path, store: RunStore) -> None:
    config = DataConfig(dataset_name="starter", train_samples=40, eval_samples=10)
    prepared = prepare_data(config, problem=choose_problem("auto"), num_labels=2, seed=0, log=lambda _: None)
    digest = record_version(prepared, VersionStore(tmp_path)).digest
    assert expect_rows(DataConfig(dataset_name=f"version:{digest}"), store, tmp_path) == 40


def test_a_file_that_cannot_be_opened_tells_nothing(
    tmp_path: Path, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    path = tmp_path / "rows.csv"
    path.write_text("text,label\na,b\n", encoding="utf-8")
    monkeypatch.setattr(Path, "open", refuse)
    assert expect_rows(DataConfig(dataset_name=str(path)), store, None) is None


def test_a_finished_run_on_a_set_of_the_hub_knows_its_rows(tmp_path: Path, store: RunStore) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    config = config_of(dataset_name="imdb")
    run = store.create(config, kind="local", results_root=tmp_path / "results")
    claim = store.claim(run.id, lease_seconds=60)
    assert claim is not None
    store.describe(claim, config=config_of(dataset_name="imdb", revision=commit).as_tree())
    store.succeed(claim, {"train_samples": 25_000}, "0" * 64)
    assert expect_rows(DataConfig(dataset_name="imdb"), store, None) == 25_000
    assert expect_rows(DataConfig(dataset_name="imdb", revision=commit), store, None) == 25_000
    assert expect_rows(DataConfig(dataset_name="imdb", revision="other"), store, None) is None
    assert expect_rows(DataConfig(dataset_name="imdb", eval_fraction=0.5), store, None) is None


def test_a_version_comes_before_runs_on_what_its_tag_meant_before(tmp_path: Path, store: RunStore) -> None:
    data = DataConfig(dataset_name="starter", train_samples=40, eval_samples=10)
    prepared = prepare_data(data, problem=choose_problem("auto"), num_labels=2, seed=0, log=lambda _: None)
    versions = VersionStore(tmp_path)
    versions.tag("reviews", record_version(prepared, versions).digest)
    run = store.create(config_of(dataset_name="version:reviews"), kind="local", results_root=tmp_path / "results")
    claim = store.claim(run.id, lease_seconds=60)
    assert claim is not None
    store.succeed(claim, {"train_samples": 7}, "0" * 64)
    assert expect_rows(DataConfig(dataset_name="version:reviews"), store, tmp_path) == 40
