"""Comparing runs over HTTP."""

from __future__ import annotations

import io

import polars as pl
import pytest


def predictions(answers, labels=None, ids=None):
    labels = labels or ["pos", "neg"] * (len(answers) // 2)
    frame = {"row_id": ids or [f"v.csv:{n}" for n in range(len(answers))], "label": labels, "prediction": answers}
    buffer = io.BytesIO()
    pl.DataFrame(frame | {"probabilities": [[0.5, 0.5]] * len(answers)}).write_parquet(buffer)
    return {"predictions.parquet": buffer.getvalue()}


def compare(api, *ids):
    answer = api.get("/experiments/compare", params={"ids": ",".join(ids)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_compare_shows_what_differs_and_that_it_is_more_than_chance(api, submit, finish):
    good, bad = submit("good", config={"lora": {"r": 16}}), submit("bad", epochs=2)
    right = ["pos", "neg"] * 20
    finish(good, predictions(right), eval_accuracy=1.0)
    finish(bad, predictions(["pos"] * 40), eval_accuracy=0.5)
    found = compare(api, bad, good)
    assert found["config_difference"] == {"lora.r": [8, 16], "training.num_train_epochs": [2, 1]}
    assert found["metrics"]["eval_accuracy"] == [0.5, 1.0]
    verdict = found["verdict"]
    assert verdict["distinguishable"] is True
    assert (verdict["difference"], verdict["only_second_right"], verdict["rows"]) == (0.5, 20, 40)
    assert verdict["interval"][0] > 0
    assert "'good' is better by more than chance" in verdict["message"]
    assert (found["flipped_total"], found["flipped"][0]["predictions"]) == (20, ["pos", "neg"])
    assert [curve[0]["loss"] for curve in found["curves"]] == [0.7, 0.7]


def test_small_difference_is_not_distinguishable(api, submit, finish):
    first, second = submit("a"), submit("b")
    finish(first, predictions(["pos", "neg"] * 20))
    finish(second, predictions(["pos", "neg"] * 19 + ["neg", "neg"]))
    assert compare(api, first, second)["verdict"]["distinguishable"] is False


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "has no predictions"),
        (predictions(["pos", "neg"], ids=["v.csv:0", "w.csv:9"]), "evaluation rows differ"),
        (predictions(["pos", "neg"], labels=["neg", "neg"]), "labels of the evaluation rows differ"),
        (predictions([0.5, 0.1], labels=[1.0, 0.0]), "numbers, not classes"),
        ({"predictions.parquet": b"broken"}, "cannot be read"),
    ],
)
def test_what_cannot_be_compared_says_why(api, submit, finish, files, reason):
    first, second = submit("a"), submit("b")
    finish(first, predictions(["pos", "neg"]))
    finish(second, files)
    found = compare(api, first, second)
    assert found["verdict"]["distinguishable"] is None
    assert reason in found["verdict"]["message"]
    assert found["flipped"] == []


def test_several_runs_are_judged_by_adjusted_pairs(api, submit, finish):
    ids = [submit(name) for name in "abc"]
    for run_id in ids:
        finish(run_id, predictions(["pos", "neg"] * 4))
    found = compare(api, *ids)
    assert len(found["pairs"]) == 3
    assert found["verdict"]["message"] == "0 of 3 pairs differ by more than chance"


@pytest.mark.parametrize(
    ("ids", "status"), [("", 400), ("latest", 400), ("latest,latest", 400), ("latest,nothing", 404)]
)
def test_compare_refuses_other_than_two_to_eight_different_runs(api, submit, ids, status):
    submit()
    assert api.get("/experiments/compare", params={"ids": ids}).status_code == status
