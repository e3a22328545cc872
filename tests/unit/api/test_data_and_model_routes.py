"""Estimates, previews, rows, labels, and questions to models, at the routes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finetune30.api.context import THREADS
from finetune30.config.presets import load_preset
from finetune30.data.prepare import prepare_data, record_version
from finetune30.problems import choose_problem
from finetune30.service.datasets.operations import open_versions


@pytest.fixture
def version(api):
    """The digest of a version made of the starter data."""
    config = load_preset("quick_cpu").config
    prepared = prepare_data(
        config.data,
        problem=choose_problem("auto"),
        num_labels=2,
        seed=42,
        log=lambda _: None,
        data_folder=Path("data_store"),
    )
    with open_versions(api.app.state.services.settings) as versions:
        return record_version(prepared, versions).digest


def test_estimate_counts_steps_and_knows_nothing_without_runs(api):
    body = {"config": {"data": {"train_samples": 100}, "training": {"num_train_epochs": 3}}, "batch_size": 8}
    answer = api.post("/config/estimate", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["steps"] == 39
    assert answer.json()["seconds"] is None
    assert answer.json()["based_on_runs"] == 0


def test_estimate_without_runs_names_the_least_memory(api):
    known = {name: api.post("/config/estimate", json=build_starter(name)).json() for name in ("fp32", "auto")}
    frozen = known["fp32"]["total_parameters"] - known["fp32"]["trainable_parameters"]
    assert known["fp32"]["memory_bytes"] is None
    assert known["fp32"]["least_memory_bytes"] == 4 * frozen + 16 * known["fp32"]["trainable_parameters"]
    assert known["fp32"]["least_memory_bytes"] - known["auto"]["least_memory_bytes"] == 2 * frozen


def test_estimate_knows_a_base_in_fewer_bits(api):
    known = {}
    for method in (None, "int8", "nf4"):
        body = build_starter("fp32")
        body["config"]["model"] = {"quantization": method}
        known[method] = api.post("/config/estimate", json=body).json()["least_memory_bytes"]
    layer = 4 * 384 * 384 + 2 * 384 * 1536
    assert known[None] - known["int8"] == 6 * layer * 3
    assert known[None] - known["nf4"] == pytest.approx(6 * layer * (4 - 0.5 - 1 / 64 - 1 / 4096), abs=1)


def build_starter(precision):
    return {"preset": "quick_cpu", "config": {"training": {"precision": precision}}}


def test_estimate_says_what_would_stand_in_or_that_the_run_would_fail(api):
    """There is no hub here."""
    told = api.post("/config/estimate", json={}).json()
    assert told["replaced"] == {"distilbert-base-uncased": "starter", "glue": "starter"}
    assert told["replaced_settings"]["training.num_train_epochs"] == 5
    assert told["out_of_reach"] is None
    own = {"config": {"data": {"dataset_name": "starter-zh"}}}
    told = api.post("/config/estimate", json=own).json()
    assert (told["replaced"], told["starter_offered"]) == ({}, True)
    assert told["out_of_reach"]["error"] == "hub_unavailable"
    assert "made for English" in told["out_of_reach"]["remedy"]


def test_preview_of_the_default_shows_what_would_stand_in(api):
    seen = api.post("/datasets/preview", json={}).json()
    assert seen["replaced"] == {"glue": "starter"}
    assert seen["label_names"] == ["negative", "positive"]


def test_a_version_of_the_default_says_what_stood_in(api):
    made = api.post("/datasets", json={}).json()
    assert made["replaced"] == {"glue": "starter"}
    named = api.post("/datasets", json={"config": {"data": {"dataset_name": "starter"}}}).json()
    assert (named["digest"], named["replaced"]) == (made["digest"], {})


@pytest.mark.parametrize("path", ["/datasets/preview", "/datasets"])
def test_nothing_stands_in_for_a_set_that_was_named(api, path):
    """As in the training; there is no hub here."""
    named = {"data": {"dataset_name": "glue", "dataset_config": "sst2"}}
    answer = api.post(path, json={"config": named})
    assert answer.json()["error"] == "hub_unavailable"
    assert api.post("/config/estimate", json={"config": named}).json()["out_of_reach"]["error"] == "hub_unavailable"
    assert api.get("/datasets").json() == {"versions": []}


def test_proposal_reads_the_starter_data(api):
    told = api.post("/datasets/proposal", json={"config": {"data": {"dataset_name": "starter"}}}).json()
    assert told["script"] == "Latin"
    assert set(told["labels"]) == {"negative", "positive"}
    assert told["settings"]["model.num_labels"] == 2


def test_estimate_refuses_what_train_would_refuse(api):
    answer = api.post("/config/estimate", json={"learning_rate": 7})
    assert answer.status_code == 422
    assert answer.json()["details"]["faults"][0]["key"] == "training.learning_rate"


def test_preview_shows_rows_columns_labels_and_ledger(api):
    answer = api.post("/datasets/preview", json={"preset": "quick_cpu"})
    assert answer.status_code == 200, answer.text
    seen = answer.json()
    assert seen["label_names"] == ["negative", "positive"]
    assert seen["columns"]["text"] == "text"
    assert {"text", "label"} <= set(seen["columns"]["available"])
    assert {row["split"] for row in seen["rows"]} == {"train", "evaluation"}
    assert sum(seen["label_counts"]["train"].values()) == seen["ledger"]["totals"]["train"]["used"]
    # Two files with a header each, and no other line that is no row.
    assert [list(entry["not_rows"]) for entry in seen["ledger"]["lines"]] == [["header"]] * 2
    assert [file["separator"] for file in seen["report"]["files"]] == [","] * 2
    assert seen["report"]["rule_shares"] == []


def test_rows_of_a_version_come_page_by_page(api, version):
    first = api.get(f"/datasets/{version}/rows", params={"limit": 3}).json()
    second = api.get(f"/datasets/{version}/rows", params={"limit": 3, "offset": 3}).json()
    assert len(first["rows"]) == len(second["rows"]) == 3
    assert first["rows"] != second["rows"]
    assert first["total"] == 64


def test_relabelling_makes_a_new_version_and_leaves_the_old_one(api, version):
    before = api.get(f"/datasets/{version}/rows", params={"limit": 1}).json()["rows"][0]
    other = {"negative": "positive", "positive": "negative"}[before["label"]]
    body = {"changes": [{"split": "train", "index": 0, "label": other}], "note": "read again"}
    made = api.post(f"/datasets/{version}/labels", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["parent"] == version
    after = api.get(f"/datasets/{made.json()['digest']}/rows", params={"limit": 1}).json()["rows"][0]
    assert (after["text"], after["label"]) == (before["text"], other)
    assert api.get(f"/datasets/{version}/rows", params={"limit": 1}).json()["rows"][0] == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "train", "index": 10_000, "label": "positive"}, "no row 10000"),
        ({"split": "train", "index": 0, "label": "splendid"}, "no label of this version"),
    ],
)
def test_relabelling_refuses_rows_and_labels_that_are_not_there(api, version, change, message):
    answer = api.post(f"/datasets/{version}/labels", json={"changes": [change]})
    assert answer.status_code == 400
    assert message in answer.json()["message"]


def test_a_run_without_a_model_cannot_be_asked(api, submit):
    answer = api.post(f"/experiments/{submit()}/predict", json={"texts": ["fine"]})
    assert answer.status_code == 409
    assert "no finished model" in answer.json()["message"]


def test_texts_and_second_texts_must_be_as_many(api, submit):
    answer = api.post(f"/experiments/{submit()}/predict", json={"texts": ["a", "b"], "text_pairs": ["c"]})
    assert answer.status_code == 400


def test_slow_questions_to_models_keep_nobody_else_waiting(api, submit, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(api.app.state.models, "ask", lambda *_: [] if go_on.wait(240) else None)
    path = f"/experiments/{submit()}/predict"
    with ThreadPoolExecutor(THREADS * 2 + 1) as clients:
        waiting = [clients.submit(api.post, path, json={"texts": ["a"]}) for _ in range(THREADS * 2)]
        try:
            assert clients.submit(api.get, "/experiments/stats").result(240).status_code == 200
            assert not any(asked.done() for asked in waiting)
        finally:
            go_on.set()
        assert {asked.result(240).status_code for asked in waiting} == {200}
