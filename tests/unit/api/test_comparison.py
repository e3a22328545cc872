"""Comparing runs over HTTP."""

from __future__ import annotations

import io

import polars as pl
import pytest
from scipy.stats import binomtest

from finetune30.service.runs.sentences import pair_words


def predictions(answers, labels=None, ids=None, **more):
    """Return a predictions.parquet; without `outcome` among `more` it is one of an earlier version."""
    labels = labels or ["pos", "neg"] * (len(answers) // 2)
    frame = {"row_id": ids or [f"v.csv:{n}" for n in range(len(answers))], "label": labels, "prediction": answers}
    buffer = io.BytesIO()
    pl.DataFrame(frame | {"probabilities": [[0.5, 0.5]] * len(answers)} | more).write_parquet(buffer)
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
    assert verdict["message"].startswith("'good' is 50.0 points better than 'bad' (95 % interval ")
    assert verdict["message"].endswith(f"p = {binomtest(0, 20).pvalue:.3g}; 40 rows)")
    assert (verdict["better"], verdict["worse"], verdict["gain"]) == (good, bad, 0.5)
    assert (verdict["first_mean"], verdict["second_mean"], verdict["measure"]) == (0.5, 1.0, "right")
    assert (found["flipped_total"], found["flipped"][0]["predictions"]) == (20, ["pos", "neg"])
    assert [curve[0]["loss"] for curve in found["curves"]] == [0.7, 0.7]


def test_small_difference_is_not_distinguishable(api, submit, finish):
    first, second = submit("a"), submit("b")
    finish(first, predictions(["pos", "neg"] * 20))
    finish(second, predictions(["pos", "neg"] * 19 + ["neg", "neg"]))
    verdict = compare(api, first, second)["verdict"]
    assert verdict["distinguishable"] is False
    assert verdict["message"].startswith(
        "cannot be told from chance: 'a' is 2.5 points better than 'b' (95 % interval -"
    )
    # Turned: the first is the better one, so the ends change places and signs.
    assert verdict["gain_interval"] == [-verdict["interval"][1], -verdict["interval"][0]]


def test_rows_in_groups_are_compared_by_group_and_those_of_a_run_without_groups_too(api, submit, finish):
    first, second = submit("a"), submit("b")
    groups = [n // 4 for n in range(48)]
    # Three groups of twelve are answered wrongly as a whole: McNemar tells 12 rows from chance, 3 signs of 8 do not.
    answers = ["neg", "pos"] * 6 + ["pos", "neg"] * 18
    finish(first, predictions(["pos", "neg"] * 24, group=groups))
    finish(second, predictions(answers))
    found = compare(api, first, second)
    verdict = found["verdict"]
    assert (verdict["groups"], verdict["groups_needed"], found["groups"][0]["groups"]) == (12, None, 12)
    assert binomtest(0, 12).pvalue < 0.001
    assert (verdict["p_value"], verdict["distinguishable"]) == (2 / 8, False)
    assert verdict["message"].endswith("p = 0.25; 48 rows, by group, 12 groups)")
    assert pair_words(verdict, {first: "'a'", second: "'b'"}).zh.endswith("p = 0.25，共 48 筆，以群組計，共 12 組）")


def test_few_groups_give_no_verdict_and_groups_of_one_row_change_nothing(api, submit, finish):
    first, second, third, fourth = (submit(name) for name in "abcd")
    right, wrong = ["pos", "neg"] * 20, ["pos"] * 40
    finish(first, predictions(right, group=[n // 8 for n in range(40)]))
    finish(second, predictions(wrong, group=[n // 8 for n in range(40)]))
    verdict = compare(api, first, second)["verdict"]
    assert (verdict["distinguishable"], verdict["groups"], verdict["groups_needed"]) == (None, 5, 10)
    assert (verdict["interval"], verdict["gain_interval"]) == (None, None)
    few = "not enough groups: 5, at least 10 are needed for a verdict: 'a' is 50.0 points better than 'b' (40 rows)"
    assert verdict["message"] == few
    words = pair_words(verdict, {first: "'a'", second: "'b'"})
    assert (words.en, words.zh.startswith("群組數不足：只有 5 組，至少需要 10 組")) == (few, True)
    ids = [f"w.csv:{n}" for n in range(40)]
    finish(third, predictions(right, ids=ids, group=list(range(40))))
    finish(fourth, predictions(wrong, ids=ids, group=list(range(40))))
    alone = compare(api, third, fourth)["verdict"]
    assert alone["groups"] is None
    assert alone["p_value"] == pytest.approx(binomtest(0, 20).pvalue)
    assert alone["message"].endswith("; 40 rows)")


def test_runs_of_one_name_are_told_apart(api, submit, finish):
    first, second = submit("a"), submit("a")
    finish(first, predictions(["pos", "neg"] * 20))
    finish(second, predictions(["neg", "pos"] * 20))
    message = compare(api, first, second)["verdict"]["message"]
    assert message.startswith(f"'a' ({first[:8]}) is 100.0 points better than 'a' ({second[:8]}) (")


def test_equal_runs_are_right_equally_often(api, submit, finish):
    first, second = submit("a"), submit("b")
    finish(first, predictions(["pos", "pos"]))
    finish(second, predictions(["neg", "neg"]))
    verdict = compare(api, first, second)["verdict"]
    assert (verdict["better"], verdict["gain"], verdict["p_value"]) == (None, 0.0, 1.0)
    assert "'a' and 'b' are right equally often" in verdict["message"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "has no predictions"),
        (predictions(["pos", "neg"], ids=["v.csv:0", "w.csv:9"]), "evaluation rows differ"),
        (predictions(["pos", "neg"], labels=["neg", "neg"]), "labels of the evaluation rows differ"),
        (predictions([0.5, 0.1], labels=[1.0, 0.0]), "labels of the evaluation rows differ"),
        (predictions(["pos", "neg"], outcome=[0.5, 0.1]), "judged in other ways (right, loss)"),
        (predictions(["pos", "neg"], outcome=[None, True]), "1 row without an outcome"),
        (predictions([], labels=[], ids=[]), "was evaluated on no rows"),
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


def test_a_run_on_other_rows_leaves_the_verdict_of_the_others(api, submit, finish):
    good, other, bad, missing = (submit(name) for name in ("good", "other", "bad", "missing"))
    finish(good, predictions(["pos", "neg"] * 20))
    finish(other, predictions(["pos", "neg"], ids=["v.csv:0", "w.csv:9"]))
    finish(bad, predictions(["pos"] * 40))
    finish(missing)
    found = compare(api, good, other, bad, missing)
    assert found["groups"] == [{"runs": [good, bad], "rows": 40, "measure": "right", "groups": None}]
    (pair,) = found["pairs"]
    assert found["verdict"] == pair
    assert (pair["first"], pair["second"], pair["difference"]) == (good, bad, -0.5)
    # One pair only, so there is nothing to adjust for.
    assert pair["p_value_adjusted"] == pytest.approx(binomtest(0, 20).pvalue)
    assert pair["message"].startswith("'good' is 50.0 points better than 'bad' (")
    reasons = {left["name"]: left["reason"] for left in found["left_out"]}
    assert list(reasons) == ["other", "missing"]
    assert reasons["other"] == (
        "the evaluation rows differ (40 in run 'good', 2 in run 'other', 1 in both); evaluate all on the same rows"
    )
    assert "has no predictions" in reasons["missing"]
    assert found["flipped_total"] == 20
    assert found["flipped"][0]["predictions"] == ["neg", None, "pos", None]
    assert found["flipped"][0]["outcomes"] == [True, None, False, None]


def test_two_groups_get_their_verdicts_and_are_adjusted_together(api, submit, finish):
    ids = [submit(name) for name in ("a", "b", "c", "d")]
    others = [f"w.csv:{number}" for number in range(6)]
    finish(ids[0], predictions(["pos", "neg"] * 5))
    finish(ids[1], predictions(["pos", "neg"] * 3, ids=others))
    finish(ids[2], predictions(["neg", "pos"] * 5))
    finish(ids[3], predictions(["neg", "pos"] * 3, ids=others))
    found = compare(api, *ids)
    assert [(pair["first"], pair["second"]) for pair in found["pairs"]] == [(ids[0], ids[2]), (ids[1], ids[3])]
    # 10 to 0 and 6 to 0 discordant rows: 2 / 2^10 and 2 / 2^6; Holm doubles the smaller.
    assert [pair["p_value_adjusted"] for pair in found["pairs"]] == pytest.approx([4 / 1024, 2 / 64])
    assert found["left_out"] == []
    assert found["flipped_total"] == 16


@pytest.mark.parametrize("is_old", [True, False])
def test_regressions_are_compared_by_their_squared_errors(api, submit, finish, is_old):
    labels = [float(number) for number in range(10)]
    near, far = [value + 0.5 for value in labels], [value - 1.5 for value in labels]
    ids = submit("near"), submit("far")
    for run_id, given, squared in zip(ids, (near, far), (0.25, 2.25), strict=True):
        outcome = {} if is_old else {"outcome": [squared] * 10}
        finish(run_id, predictions(given, labels=labels, **outcome))
    found = compare(api, *ids)
    verdict = found["verdict"]
    assert (verdict["measure"], verdict["rows"], verdict["difference"]) == ("squared_error", 10, 2.0)
    assert (verdict["first_mean"], verdict["second_mean"]) == (0.25, 2.25)
    # All ten differ alike: of 2^10 signs two are as far out.
    assert verdict["p_value"] == 2 / 1024
    assert (verdict["better"], verdict["gain"], verdict["gain_interval"]) == (ids[0], 2.0, [2.0, 2.0])
    assert verdict["only_first_right"] is None
    assert verdict["message"] == (
        "the mean squared error of 'near' is 2 lower than that of 'far' (95 % interval 2 to 2, p = 0.00195; 10 rows)"
    )
    assert found["flipped_total"] == 10
    assert found["flipped"][0]["outcomes"] == [0.25, 2.25]


def test_losses_of_any_kind_are_compared_and_the_rows_furthest_apart_come_first(api, submit, finish):
    first, second = submit("a"), submit("b")
    finish(first, predictions(["x", "y", "x", "y"], outcome=[0.5, 1.0, 0.25, 4.0]))
    finish(second, predictions(["y", "x", "y", "x"], outcome=[0.25, 2.0, 0.25, 1.0]))
    found = compare(api, first, second)
    # -0.25, 1 and -3 add up to -2.25; with other signs to 4.25, 3.75, 1.75 and opposites: six of eight are as far out.
    assert found["verdict"]["p_value"] == 6 / 8
    assert "the mean loss a row of 'b' is 0.562 lower than that of 'a'" in found["verdict"]["message"]
    assert found["verdict"]["distinguishable"] is False
    assert [row["row_id"] for row in found["flipped"]] == ["v.csv:3", "v.csv:1", "v.csv:0", "v.csv:2"]


def test_best_values_are_marked_among_runs_that_answered_the_same_rows(api, submit, finish):
    ids = [submit(name) for name in ("a", "b", "c", "d")]
    measured = ((0.5, 0.7), (0.75, 0.9), (0.5, 0.6), (1.0, 0.1))
    for place, (accuracy, loss) in enumerate(measured):
        rows = predictions(["pos", "neg"], ids=["w.csv:0", "w.csv:1"]) if place == 3 else predictions(["pos", "neg"])
        finish(ids[place], rows, eval_accuracy=accuracy, eval_loss=loss, eval_f1=0.5, eval_runtime=place + 1)
    found = compare(api, *ids)
    assert found["metrics_best"]["eval_accuracy"] == [False, True, False, False]
    assert found["metrics_best"]["eval_loss"] == [False, False, True, False]
    assert found["metrics_best"]["eval_f1"] == [False] * 4  # equal
    assert "eval_runtime" not in found["metrics_best"]


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
    part_and_nothing = next(pair for pair in found["pairs"] if names_of(found, pair) == ("part", "nothing"))
    by_label = {entry["label"]: entry for entry in part_and_nothing["by_label"]}
    # "good" stands in all 20 rows: one run names it always, the other never. Neither ever names "bad".
    counts = {label: (entry["only_first_right"], entry["only_second_right"]) for label, entry in by_label.items()}
    assert counts == {"good": (20, 0), "bad": (0, 0)}
    # Six labels of pairs are looked at together: 20 to 0 twice, 10 to 0 twice, and twice no difference.
    assert by_label["good"]["p_value_adjusted"] == pytest.approx(6 * binomtest(0, 20).pvalue)
    assert (part_and_nothing["labels_total"], part_and_nothing["labels_distinguishable"]) == (2, 1)
    first = next(row for row in found["flipped"] if row["row_id"] == "v.csv:0")
    assert (first["label"], first["predictions"]) == (["bad", "good"], [["bad", "good"], ["good"], []])


@pytest.mark.parametrize(
    ("ids", "status"), [("", 400), ("latest", 400), ("latest,latest", 400), ("latest,nothing", 404)]
)
def test_compare_refuses_other_than_two_to_eight_different_runs(api, submit, ids, status):
    submit()
    assert api.get("/experiments/compare", params={"ids": ids}).status_code == status
