"""Sets of runs and looks at test rows over HTTP."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient

from finetune30.data.problem import label_names
from finetune30.data.versions.storage import VersionStore
from finetune30.ui.messages import translate_message

ROWS = 60
#: Beside what a real run has: its problem and what it asks.
METRICS = {
    "problem_type": "single_label_classification",
    "targets": {"label_names": ["neg", "pos"]},
    "score_name": "eval_accuracy",
    "score_greater_is_better": True,
    "score_format": "percent",
}


@pytest.fixture
def quick(api: TestClient) -> TestClient:
    """An API whose hub is never asked: the starter model and data are of the package."""
    return api


def make(api: TestClient, **body: Any) -> dict[str, Any]:
    asked = {"preset": "quick_cpu", "experiment_name": "together", **body}
    answer = api.post("/run-sets", json=asked)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


def predictions(right: int, rows: int = ROWS) -> dict[str, bytes]:
    """The first `right` rows are right."""
    outcome = [number < right for number in range(rows)]
    labels = ["pos", "neg"] * (rows // 2)
    other = {"pos": "neg", "neg": "pos"}
    answers = [label if is_right else other[label] for label, is_right in zip(labels, outcome, strict=True)]
    frame = pl.DataFrame({
        "row_id": [f"v.csv:{number:04}" for number in range(rows)], "label": labels, "prediction": answers,
        "outcome": outcome,
    })  # fmt: skip
    sink = io.BytesIO()
    frame.write_parquet(sink)
    return {"predictions.parquet": sink.getvalue()}


def test_a_set_is_made_once_and_says_what_its_rows_can_tell(quick: TestClient) -> None:
    made = make(quick, seeds=3)
    assert any("evaluation rows tell" in line for line in made["said"])
    assert [run["seed"] for run in made["runs"]] == [42, 43, 44]
    assert {run["status"] for run in made["runs"]} == {"QUEUED"}
    assert made["summary"] is None
    again = make(quick, seeds=3)
    assert [run["run_id"] for run in again["runs"]] == [run["run_id"] for run in made["runs"]]
    assert [found["id"] for found in quick.get("/run-sets").json()] == [made["id"]]
    task = quick.get(f"/experiments/{made['runs'][0]['run_id']}").json()
    assert task["config"]["data"]["dataset_name"] == f"version:{made['dataset_digest']}"
    manifest = VersionStore(quick.app.state.services.settings.data_folder).get(made["dataset_digest"])  # type: ignore[attr-defined]
    assert label_names(manifest.targets) == ("negative", "positive")


def test_folds_are_made_and_one_kind_must_be_named(quick: TestClient) -> None:
    made = make(quick, folds=2, repeats=2)
    assert [(run["repeat"], run["fold"]) for run in made["runs"]] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert len({run["dataset_digest"] for run in made["runs"]}) == 4
    for wrong in ({}, {"seeds": 2, "folds": 2}):
        answer = quick.post("/run-sets", json={"preset": "quick_cpu", **wrong})
        assert answer.status_code == 422
        assert "give either seeds or folds" in answer.text
    assert quick.get("/run-sets/nowhere").status_code == 404


@pytest.mark.parametrize(
    ("rows", "half", "whole", "verdict", "said"),
    [
        (60, 30, 54, "helps", "more data would likely help: doubling from 32 to 64 rows gave +40.0 points of"),
        (2000, 1800, 1800, "flat", "not distinguishable: more rows of this kind are unlikely to show a gain as"),
        (60, 54, 30, "flat", "more rows made it worse: doubling from 32 to 64 rows gave -40.0 points of"),
        (60, 50, 53, "not_enough", "not enough rows and seeds to say: about "),
    ],
)  # fmt: skip
def test_a_curve_answers_whether_more_rows_would_help(
    quick: TestClient, finish: Callable[..., None], rows: int, half: int, whole: int, verdict: str, said: str
) -> None:
    made = make(quick, seeds=2, shares=[0.5, 1])
    assert any("2 runs on each of 0.5, 1 of the training rows" in line for line in made["said"])
    assert [(run["share"], run["rows"], run["seed"]) for run in made["runs"]] == [
        (0.5, 32, 42), (0.5, 32, 43), (1, 64, 42), (1, 64, 43),
    ]  # fmt: skip
    told = []
    for place, run in enumerate(made["runs"]):
        right = (half if run["share"] == 0.5 else whole) + place % 2
        finish(run["run_id"], predictions(right, rows), **METRICS, score=right / rows, eval_accuracy=right / rows)
        told.append(quick.get(f"/run-sets/{made['id']}").json()["summary"])
    assert told[0]["answer"] == {
        "verdict": None,
        "message": "not judged yet: on half of the rows and on all of them 3 runs have not ended",
    }
    assert [point["mean"] for point in told[1]["points"]] == [pytest.approx((half + 0.5) / rows), None]
    answer = told[-1]["answer"]
    assert answer["verdict"] == verdict
    assert answer["message"].startswith(said)
    assert answer["gain"] == pytest.approx((whole - half) / rows)
    assert answer["interval"][0] <= answer["gain"] <= answer["interval"][1]
    for message in (told[0]["answer"]["message"], answer["message"]):
        assert "個" in (translate_message("zh", message) or ""), message


def test_shares_that_tell_no_doubling_or_stand_beside_folds_are_refused(quick: TestClient) -> None:
    for wrong, said in (({"folds": 2}, "shares go with seeds"), ({"seeds": 1}, "give 2 seeds or more")):
        answer = quick.post("/run-sets", json={"preset": "quick_cpu", "shares": [0.5, 1], **wrong})
        assert answer.status_code in (400, 422)
        assert said in answer.text
    answer = quick.post("/run-sets", json={"preset": "quick_cpu", "shares": [0.25, 1], "seeds": 2})
    assert (answer.status_code, answer.json()["remedy"]) == (400, "add 0.5 and 1 to the shares")
    assert quick.get("/run-sets").json() == []


def test_more_runs_than_may_be_open_are_refused_whole(start: Callable[..., TestClient]) -> None:
    api = start(max_open_runs=2)
    answer = api.post("/run-sets", json={"preset": "quick_cpu", "seeds": 3})
    assert answer.status_code == 429
    assert api.get("/run-sets").json() == []


def test_what_finished_runs_say_together_and_two_sets_against_each_other(
    quick: TestClient, finish: Callable[..., None]
) -> None:
    good, bad = make(quick, seeds=2), make(quick, seeds=2, experiment_name="other", learning_rate=0.1)
    for made, right in ((good, 54), (bad, 30)):
        for number, run in enumerate(made["runs"]):
            right += number
            finish(run["run_id"], predictions(right), **METRICS, score=right / ROWS, eval_accuracy=right / ROWS)
    summary = quick.get(f"/run-sets/{good['id']}").json()["summary"]
    assert summary["mean"] == pytest.approx((54 + 55) / 2 / ROWS)
    assert summary["standard_deviation"] == pytest.approx(np.std([54 / ROWS, 55 / ROWS], ddof=1))
    assert summary["interval"]["low"] < summary["mean"] < summary["interval"]["high"]
    assert summary["power"]["discordant"] == pytest.approx(1 / ROWS)
    found = quick.get("/run-sets/compare", params={"first": bad["id"], "second": good["id"]}).json()
    assert found["distinguishable"] is True
    assert found["better"] == good["id"]
    assert found["message"].startswith("'together'")


def test_looks_at_test_rows_are_listed_and_refused_where_there_are_none(
    quick: TestClient, submit: Callable[..., str], finish: Callable[..., None]
) -> None:
    run = submit("tested")
    assert quick.get(f"/experiments/{run}/test").json()["state"] == "none"
    waiting = quick.post(f"/experiments/{run}/test")
    assert (waiting.status_code, waiting.json()["error"]) == (409, "conflict")
    assert quick.get("/experiments/nowhere/test").status_code == 404
    against = quick.post(f"/experiments/{run}/test", params={"against": "nowhere"})
    assert (against.status_code, "nowhere" in against.json()["message"]) == (404, True)
