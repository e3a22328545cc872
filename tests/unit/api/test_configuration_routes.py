"""Schema, defaults, presets and checking over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from finetune30.cli.config import check


def test_schema_default_and_presets_are_served(api):
    assert api.get("/config/schema").json()["properties"]["training"]
    assert api.get("/config/default").json()["config"]["model"]["name"] == "distilbert-base-uncased"
    names = [preset["name"] for preset in api.get("/config/presets").json()["presets"]]
    assert names[0] == "default"
    assert api.get("/config/presets/starter").json()["config"]["model"]["name"] == "starter"
    assert api.get("/config/presets/..%2fdefault").status_code == 404


def test_validate_answers_what_train_would_run(api):
    checked = api.post("/config/validate", json={"epochs": 3}).json()
    assert checked["config"]["training"]["num_train_epochs"] == 3
    assert checked["explicit"] == ["training.num_train_epochs"]
    again = api.post("/config/validate", json={"yaml": checked["yaml"]}).json()
    assert again["config"] == checked["config"]
    assert api.get("/experiments/stats").json()["total"] == 0


def test_validate_reports_faults_of_yaml_with_lines(api):
    answer = api.post("/config/validate", json={"yaml": "training:\n  epochs: &a 1\n"})
    assert answer.status_code == 422
    assert answer.json()["details"]["faults"][0]["line"] == 2
    both = api.post("/config/validate", json={"yaml": "lora: {r: 4}", "config": {}})
    assert both.json()["details"]["faults"][0]["key"] == "yaml"
    wrong = api.post("/config/validate", json={"yaml": "lora:\n  rank: 4\n"})
    assert wrong.json()["details"]["faults"][0]["hint"] == "did you mean lora.r?"


PATHS = (
    "/config/validate",
    "/train",
    "/datasets/preview",
    "/datasets/proposal",
    "/datasets/tokens",
    "/datasets",
    "/config/estimate",
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.dataset_name", "/etc/passwd"),
        ("data.eval_file", "secret/rows.csv"),
        ("training.start_adapter", "secret"),
        ("model.name", "secret"),
        ("model.revision", "../x"),
        ("training.output_dir", "secret"),
    ],
)
def test_every_route_that_takes_a_configuration_refuses_the_same_files(api, path, key, value):
    Path("secret").mkdir()
    Path("secret/rows.csv").write_text("text,label\na,b\n")
    section, leaf = key.split(".")
    answer = api.post(path, json={"config": {section: {leaf: value}}})
    assert answer.status_code == 422, answer.text
    assert [fault["key"] for fault in answer.json()["details"]["faults"]] == [key]
    assert CliRunner().invoke(check, [_saved(section, leaf, value), "--as-request"]).exit_code != 0


def _saved(section: str, leaf: str, value: str) -> str:
    Path("asked.yaml").write_text(f"{section}:\n  {leaf}: {value}\n")
    return "asked.yaml"
