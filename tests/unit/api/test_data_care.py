"""Care for data over HTTP: suspect labels, other labels, tags, reports and rows set aside."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from finetune30.problems.classification.suspects import rank_single_label
from finetune30.service.datasets.operations import open_versions
from finetune30.service.suspects.search import FILE, save_suspects
from finetune30.service.suspects.suspects import Suspects

NAMES = ("bad", "good")


def build_rows(count=40, wrong=()):
    labels = [NAMES[(number + (number in wrong)) % 2] for number in range(count)]
    texts = [f"a {name} film, number {number}" for number, name in enumerate(NAMES * (count // 2))]
    origins = [f"a.csv:{number + 2}" for number in range(count)]
    return pl.DataFrame(
        {"text": texts, "text_pair": None, "label": labels, "origin": origins},
        schema_overrides={"text_pair": pl.String},
    )


def create(api, rows, labels=NAMES, problem_type="single_label_classification"):
    with open_versions(api.app.state.services.settings) as versions:
        source = {"name": "a.csv"}
        return versions.create(
            {"train": rows}, targets={"label_names": list(labels)}, problem_type=problem_type, source=source
        )[0]


@pytest.fixture
def version(api):
    return create(api, build_rows(wrong=(3, 8)))


def wait_until_settled(api, run_id):
    for _ in range(4800):
        answer = api.get(f"/experiments/{run_id}/suspects").json()
        if answer["state"] != "searching":
            return answer
        time.sleep(0.1)
    raise AssertionError(answer)


def test_suspects_are_none_before_a_search_and_paged_after_it(api, submit, finish, version):
    run_id = submit()
    assert api.get(f"/experiments/{run_id}/suspects").json() == {"state": "none", "run_id": run_id, "error": None}
    finish(run_id)
    logits = [[2.0, -2.0], [-2.0, 2.0]] * 20
    ranked, method = rank_single_label(build_rows(wrong=(3, 8)), np.array(logits), version.targets)
    store = api.app.state.services.store
    found = Suspects(run_id, version, ranked, method)
    save_suspects(found.rows, found.facts, Path("results") / store.get(run_id).folder)

    assert api.post(f"/experiments/{run_id}/suspects").json()["state"] == "ready"
    found = api.get(f"/experiments/{run_id}/suspects", params={"limit": 1}).json()
    assert (found["rows"], found["suspects"], found["version"], found["folds"]) == (40, 2, version.digest, None)
    second = api.get(f"/experiments/{run_id}/suspects", params={"limit": 5, "offset": 1}).json()
    assert {found["ranking"][0]["row"], *(row["row"] for row in second["ranking"])} == {3, 8}
    everything = api.get(f"/experiments/{run_id}/suspects", params={"everything": True, "limit": 1000}).json()
    assert len(everything["ranking"]) == 40


def test_search_without_a_finished_model_is_refused(api, submit):
    refused = api.post(f"/experiments/{submit()}/suspects")
    assert (refused.status_code, refused.json()["error"]) == (409, "conflict")


def test_other_judges_are_asked_although_a_finding_is_there(api, submit, finish, version):
    run_id = submit()
    finish(run_id)
    ranked, method = rank_single_label(build_rows(), np.array([[2.0, -2.0], [-2.0, 2.0]] * 20), version.targets)
    folder = Path("results") / api.app.state.services.store.get(run_id).folder
    save_suspects(ranked, Suspects(run_id, version, ranked, method, 5).facts, folder)
    address = f"/experiments/{run_id}/suspects"
    assert api.post(address, json={"folds": 5}).json()["folds"] == 5
    assert api.post(address).json()["state"] == "searching"
    assert wait_until_settled(api, run_id)["state"] == "failed"  # the run has no model; the finding before is kept
    assert (folder / FILE).is_file()
    assert api.post(address, json={"folds": 5}).json()["state"] == "ready"
    assert api.post(address, json={"folds": 1}).status_code == 422


def test_search_that_fails_says_why_and_can_be_begun_again(api, submit, finish):
    run_id = submit()
    finish(run_id)  # SUCCEEDED, but there is no model in its folder
    assert api.post(f"/experiments/{run_id}/suspects").status_code == 202
    failed = wait_until_settled(api, run_id)
    assert failed["state"] == "failed"
    assert failed["error"]["message"]
    assert api.post(f"/experiments/{run_id}/suspects").json()["state"] == "searching"
    assert wait_until_settled(api, run_id)["state"] == "failed"


def test_row_can_be_removed_and_relabelled_in_one_version(api, version):
    changes = [{"split": "train", "index": 3, "label": "good"}, {"split": "train", "index": 0, "label": None}]
    made = api.post(f"/datasets/{version.digest}/labels", json={"changes": changes, "note": "looked again"}).json()
    assert (made["changed"], made["removed"], made["is_new"]) == (1, 1, True)
    rows = api.get(f"/datasets/{made['digest']}/rows").json()
    assert rows["total"] == 39
    assert rows["rows"][2]["label"] == "good"
    counts = api.get("/datasets/diff", params={"a": version.digest, "b": made["digest"]}).json()["counts"]
    assert (counts["relabelled"], counts["removed"]) == (1, 1)
    shown = api.get(f"/datasets/{made['digest']}").json()
    assert shown["statistics"]["label_counts"] == {"bad": 18, "good": 21}
    assert (shown["parent"], shown["note"]) == (version.digest, "looked again")


@pytest.mark.parametrize(
    ("problem_type", "names", "label", "good", "wrong"),
    [
        ("multi_label_classification", ("a", "b"), '["a"]', '["a", "b"]', '["c"]'),
        ("regression", (), "1.5", "2.5", "many"),
    ],
)
def test_labels_of_other_tasks_are_checked_as_they_are_written(api, problem_type, names, label, good, wrong):
    rows = build_rows(4).with_columns(pl.lit(label).alias("label"))
    digest = create(api, rows, names, problem_type).digest
    change = {"split": "train", "index": 1}
    made = api.post(f"/datasets/{digest}/labels", json={"changes": [{**change, "label": good}]})
    assert made.status_code == 201, made.text
    refused = api.post(f"/datasets/{digest}/labels", json={"changes": [{**change, "label": wrong}]})
    assert (refused.status_code, "is no label" in refused.json()["message"]) == (400, True)


def test_no_version_loses_all_its_rows(api, version):
    changes = [{"split": "train", "index": number, "label": None} for number in range(40)]
    refused = api.post(f"/datasets/{version.digest}/labels", json={"changes": changes})
    assert (refused.status_code, refused.json()["message"]) == (400, "no row of train would be left")


def test_tag_is_given_moved_on_request_only_and_taken_away(api, version):
    other = create(api, build_rows(10)).digest
    given = api.post(f"/datasets/{version.digest}/tags", json={"tag": "reviews-v1"})
    assert (given.status_code, given.json()) == (201, {"digest": version.digest, "tags": ["reviews-v1"]})
    assert api.get("/datasets/reviews-v1").json()["digest"] == version.digest
    assert api.post(f"/datasets/{other}/tags", json={"tag": "reviews-v1"}).status_code == 409
    assert api.delete(f"/datasets/{other}/tags/reviews-v1").status_code == 404
    assert api.post(f"/datasets/{other}/tags", json={"tag": "reviews-v1", "move": True}).status_code == 201
    assert api.delete(f"/datasets/{other}/tags/reviews-v1").json() == {"digest": other, "tags": []}
    assert api.get("/datasets/reviews-v1").status_code == 404
    assert api.post(f"/datasets/{other}/tags", json={"tag": "../evil"}).status_code == 400


def test_report_of_a_version_tells_findings_and_the_rows_a_training_would_set_aside(api):
    rows = build_rows(40).with_row_index("at")
    emptied = pl.when(pl.col("at") == 5).then(pl.lit("")).otherwise("text").alias("text")
    digest = create(api, rows.with_columns(emptied).drop("at")).digest
    report = api.get(f"/datasets/{digest}/report")
    assert report.status_code == 200, report.text
    found = report.json()
    assert (found["rows"], found["set_aside"], found["would_train"]) == (40, 1, False)
    assert found["refusal"]
    assert found["quarantine"][0]["reason"] == "empty_text"
    assert found["analysis"]["total_samples"] == 40
    assert {"rule": "empty_text", "severity": "error", "split": "train", "count": 1} in found["summary"]


def test_rows_set_aside_by_a_run_come_page_by_page(api, submit, finish):
    run_id = submit()
    assert api.get(f"/experiments/{run_id}/quarantine").json() == {"total": 0, "rows": []}
    lines = b'{"row_id": "a.csv:2", "reason": "too_short"}\n{"row_id": "a.csv:9", "reason": "html"}\n'
    finish(run_id, files={"quarantine.jsonl": lines})
    page = api.get(f"/experiments/{run_id}/quarantine", params={"offset": 1}).json()
    assert page == {"total": 2, "rows": [{"row_id": "a.csv:9", "reason": "html"}]}


def test_sent_file_becomes_a_version_with_all_its_rows(api):
    lines = b"review,mark\n" + b"".join(b"film number %d,%d\n" % (number, number % 2) for number in range(30))
    sent = api.post(
        "/datasets/files?name=films.csv", content=lines, headers={"Content-Type": "application/octet-stream"}
    )
    data = {"text_column": "review", "label_column": "mark", "train_samples": 4}
    body = {"dataset": sent.json()["dataset_name"], "config": {"data": data}, "note": "as it came"}
    made = api.post("/datasets", json=body)
    assert made.status_code == 201, made.text
    assert sum(made.json()["rows"].values()) == 30
    assert api.get(f"/datasets/{made.json()['digest']}").json()["note"] == "as it came"
    assert api.post("/datasets", json=body).json() == {**made.json(), "is_new": False}
    assert api.post("/datasets", json={"dataset": "/etc/passwd"}).status_code == 422
