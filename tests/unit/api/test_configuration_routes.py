"""Schema, defaults, presets and checking over HTTP."""

from __future__ import annotations


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
