"""Runs as they were recorded before versions had a format 2: listed, filtered, shown and compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from finetune30.cli.data_versions import versions as versions_command
from finetune30.config.loading import validate_tree
from finetune30.data.prepare import prepare_data
from finetune30.problems.of_rows import problem_of_rows
from finetune30.service.datasets.operations import versions_of
from finetune30.service.runs.comparison import compare_runs
from finetune30.service.runs.details import load_run_details
from finetune30.service.runs.listing import RunQuery
from finetune30.service.runs.open_records import Records, open_records
from finetune30.settings import Settings
from support.first_format import FIXTURE, RUNS

NAMES = [name for name, *_ in RUNS]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with copies of the folders where a user has them."""
    shutil.copytree(FIXTURE / "store", tmp_path / "data_store")
    shutil.copytree(FIXTURE / "runs", tmp_path / "results")
    return Settings(results_folder=tmp_path / "results", data_folder=tmp_path / "data_store")


@pytest.fixture
def records(settings: Settings) -> Iterator[Records]:
    with open_records(settings) as opened:
        yield opened


def test_runs_are_listed_and_filtered(records: Records) -> None:
    def names(**wanted: Any) -> list[str]:
        return [run.name for run in records.store.find(RunQuery(**wanted).as_filter())]

    digest = (FIXTURE / "store" / "tags" / "single-before").read_text().strip()
    assert names() == NAMES[::-1]
    assert names(dataset_digest=digest, desc=False) == NAMES[:2]
    assert names(name="REGRESSION", status=["SUCCEEDED"]) == NAMES[2:]
    assert names(min_accuracy=0.5, sort_by="name", desc=False) == NAMES[:2]
    assert names(min_accuracy=0.51) == names(max_runtime=0.0) == names(status=["FAILED"]) == []


def test_metrics_and_files_of_a_run_are_those_that_were_written(records: Records) -> None:
    for name in NAMES:
        run = records.store.get(name)
        details = load_run_details(records, run)
        (folder,) = FIXTURE.glob(f"runs/{name}_*")
        listed = {file["name"] for file in details["files"]} | {"manifest.json"}
        assert {path.name for path in folder.iterdir()} <= listed
        written = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        numbers = {key: value for key, value in (run.metrics or {}).items() if key.startswith("eval_")}
        assert numbers.items() <= written.items()
        assert details["ledger_totals"]["train"]["used"] == 4


def test_runs_are_compared(settings: Settings, records: Records) -> None:
    versions = versions_of(settings, records.store)
    compared = compare_runs(records, NAMES[:2], versions)
    assert compared["config_difference"]["training.num_train_epochs"] == [1, 2]
    assert compared["data_difference"]["same"] is True
    assert len(compared["metrics"]["eval_loss"]) == 2
    other = compare_runs(records, [NAMES[0], NAMES[2]], versions)
    assert other["data_difference"]["from_first"][0]["counts"] == {
        "added": 6, "removed": 6, "relabelled": 0, "changed": 0, "unchanged": 0
    }  # fmt: skip


def test_version_shows_the_runs_that_were_trained_on_it(settings: Settings) -> None:
    shown = CliRunner().invoke(versions_command, ["show", "single-before", "--json"])
    tree = json.loads(shown.stdout)
    assert [run["name"] for run in tree["runs"]] == NAMES[1::-1]
    assert (tree["format"], tree["label_names"], tree["tags"]) == (1, ["bad", "good"], ["single-before"])
    assert tree["first_rows"]["train"][0]["text"] == "a fine film"
    assert CliRunner().invoke(versions_command, ["verify"]).stdout.count(": ok\n") == 8


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_recorded_configuration_are_those_of_its_run(records: Records, settings: Settings, name: str) -> None:
    run = records.store.get(name)
    config = validate_tree(run.config)
    assert (config.data.split_seed, config.row_seed) == (None, config.training.seed)
    data = config.data.model_copy(update={"dataset_name": f"version:{run.dataset_digest}", "eval_file": None})
    prepared = prepare_data(
        data,
        problem=problem_of_rows(config.model.problem_type, data.dataset_name, settings.data_folder),
        num_labels=config.model.num_labels,
        seed=config.row_seed,
        log=lambda _: None,
        data_folder=settings.data_folder,
    )
    assert prepared.digest == run.dataset_digest
