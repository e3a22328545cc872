"""Which files a request may name, told from the marks of the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel

from finetune30.config import ExperimentConfig
from finetune30.config.holds import Holds
from finetune30.config.loading import validate_tree
from finetune30.service.submitting.named_files import find_file_faults
from finetune30.settings import Settings

#: Spellings of files that are the server's own.
FOREIGN = ["/etc/passwd", "~/x.csv", "../x.csv", "data/../x.csv", "./x.csv", "data/out/passwd", "data\\..\\x.csv"]


@pytest.fixture
def settings() -> Settings:
    Path("data").mkdir()
    Path("data/rows.csv").write_text("text,label\n")
    Path("data/out").symlink_to("/etc")
    Path("x.csv").write_text("text,label\n")
    return Settings()


class Extended(ExperimentConfig):
    """The schema with keys that nobody listed anywhere."""

    class Extra(BaseModel):
        vocabularies: Annotated[list[str], Holds.PATH] = []
        helper: Annotated[str, Holds.MODEL] | None = None
        more_rows: Annotated[str, Holds.DATASET] | None = None
        shown_as: Annotated[str, Holds.TEXT] = "/etc/passwd"

    extra: Extra = Extra()


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("key", ["vocabularies", "helper", "more_rows"])
def test_new_key_that_names_files_is_guarded_by_its_mark_alone(settings: Settings, key: str, name: str) -> None:
    value = [name] if key == "vocabularies" else name
    config = Extended(extra=Extended.Extra.model_validate({key: value}))
    assert [fault.key for fault in find_file_faults(config, settings, "request")] == [f"extra.{key}"]


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("key", ["model.name", "data.dataset_name", "data.eval_file", "training.start_adapter"])
def test_no_key_names_files_outside_of_the_allowed_folders(settings: Settings, key: str, name: str) -> None:
    section, leaf = key.split(".")
    faults = find_file_faults(validate_tree({section: {leaf: name}}), settings, "request")
    assert [fault.key for fault in faults] == [key]
    assert "FT30_ALLOWED_FOLDERS" in faults[0].hint


@pytest.mark.parametrize(
    "tree",
    [
        {"model": {"name": "starter"}, "data": {"dataset_name": "starter-zh"}},
        {"model": {"name": "starter-chat"}},
        {"model": {"name": "org/model"}, "data": {"dataset_name": "version:reviews-v1"}},
        {"data": {"dataset_name": "data/rows.csv", "eval_file": "data/rows.csv"}},
        {"training": {"start_adapter": "data"}, "lora": {"target_modules": ["layer.0.q_lin"]}},
    ],
)
def test_names_and_files_of_allowed_folders_pass(settings: Settings, tree: dict[str, object]) -> None:
    Path("data/out").unlink()
    assert find_file_faults(validate_tree(tree), settings, "request") == []


def test_name_that_is_also_a_folder_here_means_the_folder(settings: Settings) -> None:
    Path("org/model").mkdir(parents=True)
    faults = find_file_faults(validate_tree({"model": {"name": "org/model"}}), settings, "request")
    assert [fault.key for fault in faults] == ["model.name"]


def test_folder_that_holds_a_link_out_is_refused_and_a_link_within_is_not(settings: Settings) -> None:
    Path("data/model/part").mkdir(parents=True)
    Path("data/model/config.json").symlink_to(Path("data/rows.csv").resolve())
    tree = {"model": {"name": "data/model"}}
    assert find_file_faults(validate_tree(tree), settings, "request") == []
    Path("data/model/part/model.safetensors").symlink_to(Path("x.csv").resolve())
    assert "holds a link" in find_file_faults(validate_tree(tree), settings, "request")[0].problem


def test_names_that_are_paths_are_refused(settings: Settings) -> None:
    tree = {"data": {"dataset_config": "../../x", "train_split": "/etc"}, "lora": {"modules_to_save": ["~/x"]}}
    faults = find_file_faults(validate_tree(tree), settings, "request")
    assert {fault.key for fault in faults} == {"data.dataset_config", "data.train_split", "lora.modules_to_save"}


def test_runs_go_into_the_results_folder_of_the_services(settings: Settings) -> None:
    def faults(folder: str) -> list[str]:
        tree = {"training": {"output_dir": folder}}
        return [fault.key for fault in find_file_faults(validate_tree(tree), settings, "request")]

    assert faults("results") == []
    assert faults("data") == ["training.output_dir"]
