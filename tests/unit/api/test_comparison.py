"""Comparing runs over HTTP."""

from __future__ import annotations

import io

import polars as pl
import pytest
from scipy.stats import binomtest


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


def test_three_runs_are_shown_side_by_side_and_each_pair_is_judged(api, submit, finish):
    right = ["pos", "neg"] * 20
    answers = {
        "all": right,
        "half": ["pos"] * 40,  # right on every second row
        "most": [*right[:-6], *["pos", "pos"] * 3],  # wrong on three rows of those that "half" is wrong on too
    }
    ids = []
    for number, (name, given) in enumerate(answers.items()):
        ids.append(submit(name, config={"lora": {"r": 8 * (number + 1)}}))
        finish(ids[-1], predictions(given), eval_accuracy=sum(map(str.__eq__, given, right)) / 40)
    found = compare(api, *ids)
    assert [run["name"] for run in found["runs"]] == list(answers)
    assert found["config_difference"] == {"lora.r": [8, 16, 24]}
    assert found["metrics"]["eval_accuracy"] == [1.0, 0.5, 37 / 40]
    assert len(found["curves"]) == 3

    # Only the discordant rows count: 20 to 0, 3 to 0, and 0 to 17; Holm multiplies by 3, 2, 1 from the smallest on.
    exact = [binomtest(0, rows).pvalue for rows in (20, 3, 17)]
    pairs = {(names_of(found, pair)): pair for pair in found["pairs"]}
    assert {names: pair["p_value"] for names, pair in pairs.items()} == pytest.approx(
        {("all", "half"): exact[0], ("all", "most"): exact[1], ("half", "most"): exact[2]}
    )
    assert {names: pair["p_value_adjusted"] for names, pair in pairs.items()} == pytest.approx(
        {("all", "half"): 3 * exact[0], ("all", "most"): exact[1], ("half", "most"): 2 * exact[2]}
    )
    assert [names for names, pair in pairs.items() if pair["distinguishable"]] == [("all", "half"), ("half", "most")]
    assert found["verdict"] == {"distinguishable": True, "message": "2 of 3 pairs differ by more than chance"}
    assert found["flipped_total"] == 20
    last = found["flipped"][-1]
    assert (last["row_id"], last["label"], last["predictions"]) == ("v.csv:9", "neg", ["neg", "pos", "neg"])


def names_of(found, pair):
    names = {run["id"]: run["name"] for run in found["runs"]}
    return names[pair["first"]], names[pair["second"]]


def test_multi_label_rows_are_right_when_all_their_labels_are(api, submit, finish):
    labels = [["bad", "good"], ["good"]] * 10
    nothing: list[list[str]] = [[]] * 20
    part = [["good"]] * 20
    ids = [submit(name) for name in ("all", "part", "nothing")]
    for run_id, answers in zip(ids, (labels, part, nothing), strict=True):
        finish(run_id, predictions(answers, labels=labels))
    found = compare(api, *ids)
    differences = {names_of(found, pair): pair["difference"] for pair in found["pairs"]}
    assert differences == {("all", "part"): -0.5, ("all", "nothing"): -1.0, ("part", "nothing"): -0.5}
    assert found["flipped_total"] == 20
    first = next(row for row in found["flipped"] if row["row_id"] == "v.csv:0")
    assert (first["label"], first["predictions"]) == (["bad", "good"], [["bad", "good"], ["good"], []])


@pytest.mark.parametrize(
    ("ids", "status"), [("", 400), ("latest", 400), ("latest,latest", 400), ("latest,nothing", 404)]
)
def test_compare_refuses_other_than_two_to_eight_different_runs(api, submit, ids, status):
    submit()
    assert api.get("/experiments/compare", params={"ids": ids}).status_code == status
