"""Evaluation rows that rules set aside stand beside the score, in figures that every face draws."""

from __future__ import annotations

from typing import Any

import pytest

from finetune30.data.problem import Score
from finetune30.service.execution.set_aside import describe_set_aside, say_set_aside
from finetune30.service.runs.blocks import build_result_blocks

ACCURACY = Score("eval_accuracy", greater_is_better=True, format="percent", share_right="eval_accuracy")
ERROR = Score("eval_mse", greater_is_better=False, format="number")


def total(used: int, **dropped: int) -> dict[str, Any]:
    count = used + sum(dropped.values())
    return {"input": count, "used": used, "truncated": 0, "moved_to_evaluation": 0, "dropped": dropped}


def ledger(evaluation: dict[str, Any], train: dict[str, Any] | None = None, *, split_off: bool = False) -> Any:
    entry = {"file": "a.csv", "split": "evaluation", **({"split_off_from": "train"} if split_off else {})}
    return {"files": [entry], "totals": {"train": train or total(1), "evaluation": evaluation}}


def test_rows_set_aside_are_counted_as_wrong_in_the_share_of_right_answers() -> None:
    found = describe_set_aside(ledger(total(980, too_short=12, empty_text=8)), ACCURACY, {"eval_accuracy": 0.91})
    assert (found["rows"], found["passed"], found["asked"]) == (20, 980, 1000)
    assert found["by_rule"] == {"too_short": 12, "empty_text": 8}
    # 980 rows were answered, 891.8 of them rightly; all 1,000 were asked.
    assert found["counted_as_wrong"] == pytest.approx(891.8 / 1000)
    said = say_set_aside(found)
    assert said is not None
    assert "rules set 20 of 1,000 evaluation rows aside (12 too_short, 8 empty_text)" in said
    assert said.endswith("eval_accuracy is 0.9100, and 0.8918 with them as wrong")


def test_rows_that_ask_nothing_are_counted_and_not_wrong() -> None:
    found = describe_set_aside(
        ledger(total(90, missing_label=6, repeated_header=1, empty_text=10)), ACCURACY, {"eval_accuracy": 0.5}
    )
    assert (found["rows"], found["asked"]) == (17, 100)
    assert found["counted_as_wrong"] == pytest.approx(45 / 100)


def test_rows_that_were_not_sampled_are_not_set_aside_and_stand_for_those_that_were() -> None:
    found = describe_set_aside(ledger(total(100, not_sampled=860, too_long=40)), ACCURACY, {"eval_accuracy": 0.5})
    assert (found["rows"], found["passed"]) == (40, 960)
    assert found["counted_as_wrong"] == pytest.approx(0.5 * 0.96)


def test_where_evaluation_rows_are_split_off_the_rows_of_their_file_count() -> None:
    train = total(720, too_short=100) | {"moved_to_evaluation": 180, "input": 1000}
    found = describe_set_aside(ledger(total(180), train, split_off=True), ACCURACY, {"eval_accuracy": 0.8})
    assert (found["rows"], found["passed"], found["split_off"]) == (100, 900, True)
    assert found["counted_as_wrong"] == pytest.approx(0.72)
    assert "100 of 1,000 rows of the file that they were split off from" in str(say_set_aside(found))


def test_a_regression_only_counts() -> None:
    found = describe_set_aside(ledger(total(98, empty_text=2)), ERROR, {"eval_mse": 0.3})
    assert (found["rows"], found["metric"], found["value"], found["counted_as_wrong"]) == (2, None, None, None)
    assert say_set_aside(found) == "evaluation: rules set 2 of 100 evaluation rows aside (2 empty_text)"


def test_nothing_is_said_where_nothing_was_set_aside() -> None:
    found = describe_set_aside(ledger(total(100)), ACCURACY, {"eval_accuracy": 0.75})
    assert found["counted_as_wrong"] == 0.75
    assert say_set_aside(found) is None
    assert _figures(found) == ["Accuracy"]


def test_figures_stand_behind_the_score_in_both_languages() -> None:
    found = describe_set_aside(ledger(total(980, too_short=20)), ACCURACY, {"eval_accuracy": 0.91})
    blocks = build_result_blocks(_metrics(found))
    titles = [block.title.en for block in blocks[:3]]
    assert titles == [
        "Accuracy",
        "Evaluation rows set aside by rules (20 too_short)",
        "Accuracy, rows set aside counted as wrong",
    ]
    assert [getattr(block, "value", None) for block in blocks[:3]] == [0.91, 20, pytest.approx(0.8918)]
    assert [getattr(block, "rows", None) for block in blocks[1:3]] == [1000, 1000]
    assert all(block.title.zh != block.title.en for block in blocks[:3])


def test_runs_that_recorded_nothing_of_it_are_shown_as_before() -> None:
    assert _figures(None) == ["Accuracy"]


def _metrics(found: Any) -> dict[str, Any]:
    metrics = {"problem_type": "single_label_classification", "eval_accuracy": 0.91, "eval_samples": 980}
    return metrics | ({} if found is None else {"evaluation_set_aside": found})


def _figures(found: Any) -> list[str]:
    return [block.title.en for block in build_result_blocks(_metrics(found)) if block.kind == "figure"]
