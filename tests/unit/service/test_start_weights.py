"""A training that starts from the weights of a run, named as runs are named wherever they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune30.config import ExperimentConfig
from finetune30.config.holds import Holds, held_texts
from finetune30.config.loading import LoadedConfig, validate_tree
from finetune30.errors import ConfigError
from finetune30.service.runs.open_records import Records
from finetune30.service.submitting.named_files import find_file_faults
from finetune30.service.submitting.start_weights import pin_loaded, pin_start_adapter
from finetune30.service.submitting.submission import submit
from finetune30.settings import Settings
from finetune30.store import Run, RunFilter, RunStore, open_store
from support.registered import finish_model_run, register_ready

RESULTS = Path("results")


class Silent:
    """Workers that hear of no run."""

    def publish(self, run_id: str) -> None:
        """Nothing."""


@pytest.fixture
def store() -> Any:
    opened = open_store("sqlite:///results/experiments.db")
    yield opened
    opened.close()


@pytest.fixture
def run(store: RunStore) -> Run:
    return finish_model_run(store, RESULTS, "one")


def starting_from(named: str) -> ExperimentConfig:
    return validate_tree({"training": {"start_adapter": named}})


def test_a_run_and_every_name_of_a_model_lead_to_the_adapter_itself(store: RunStore, run: Run) -> None:
    register_ready(store, RESULTS, run, "reviews")
    records = Records(store, RESULTS)
    wanted = (RESULTS / run.folder / "artifacts" / "final_model").resolve()
    for named in (run.id, run.id[:8], run.folder, "one", "latest", "reviews", "reviews:1", "reviews@latest"):
        found = pin_start_adapter(starting_from(named), records).training.start_adapter
        assert found == str(wanted), named
    loaded = pin_loaded(LoadedConfig(starting_from("reviews:1")), records)
    assert loaded.config.training.start_adapter == str(wanted)


def test_what_was_submitted_stays_where_its_name_led(store: RunStore, run: Run) -> None:
    register_ready(store, RESULTS, run, "reviews")
    done = submit(store, starting_from("reviews"), Settings(), publisher=Silent())
    newer = finish_model_run(store, RESULTS, "two")
    register_ready(store, RESULTS, newer, "reviews")
    kept = store.get(done.run.id).config["training"]["start_adapter"]
    assert kept == str((RESULTS / run.folder / "artifacts" / "final_model").resolve())


@pytest.mark.parametrize("folder", ["adapters", "./adapters", "/adapters", "~/adapters", "there/below"])
def test_paths_stay_as_they_are(store: RunStore, folder: str) -> None:
    Path("adapters").mkdir()
    assert pin_start_adapter(starting_from(folder), Records(store, RESULTS)).training.start_adapter == folder


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("nobody@production", "there is no model 'nobody'"),
        ("nobody", "there is no run 'nobody'"),
        ("waiting", "has no finished model"),
    ],
)
def test_what_names_no_finished_run_is_refused_before_anything_is_written(
    store: RunStore, named: str, told: str
) -> None:
    store.create(ExperimentConfig(experiment_name="waiting"), kind="queued", results_root=RESULTS)
    with pytest.raises(ConfigError, match=told) as refused:
        submit(store, starting_from(named), Settings(), publisher=Silent())
    assert "name a run, a model (NAME, NAME@alias, NAME:7), or the folder of a saved adapter" in refused.value.message
    assert [one.name for one in store.find(RunFilter())] == ["waiting"]


def test_every_key_that_takes_an_adapter_takes_a_run_in_requests_too() -> None:
    filled = starting_from("reviews@production")
    keys = [held.key for held in held_texts(filled) if held.holds is Holds.ADAPTER]
    assert keys == ["training.start_adapter"]
    assert find_file_faults(filled, Settings(), "request") == []
    for outside in ("/etc", "../up", "~root"):
        assert [fault.key for fault in find_file_faults(starting_from(outside), Settings(), "request")] == keys
