"""Comparing runs of language models over HTTP: losses a row, and the answers that they gave."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from scipy.stats import binomtest
from starlette.testclient import TestClient

from finetune30.cli.compare import describe, describe_answers

WANTED = "We open at nine."


def losses(values: list[float], tokens: list[int] | None = None) -> dict[str, bytes]:
    """Return predictions.parquet as a language model publishes it."""
    buffer = io.BytesIO()
    ids = [f"chat.jsonl:{number}" for number in range(len(values))]
    asked = tokens or [6] * len(values)
    pl.DataFrame({"row_id": ids, "outcome": values, "tokens_right": 1, "tokens_asked": asked}).write_parquet(buffer)
    return {"predictions.parquet": buffer.getvalue()}


def generations(answers: list[str], wanted: str = WANTED, first: int = 0) -> dict[str, bytes]:
    """Return generations.jsonl; every second row says what is expected."""
    lines = []
    for number, answer in enumerate(answers, start=first):
        expected = ["nine", "9"] if number % 2 == 0 else []
        row = {
            "row_id": f"chat.jsonl:{number}",
            "question": f"When? {number}",
            "reference": wanted,
            "answer": answer,
            "is_exact": answer == wanted,
            "expected": expected,
            "holds_expected": any(text in answer for text in expected) if expected else None,
        }
        lines.append(json.dumps(row) + "\n")
    return {"generations.jsonl": "".join(lines).encode()}


def compare(api: TestClient, *ids: str) -> dict[str, Any]:
    answer = api.get("/experiments/compare", params={"ids": ",".join(ids)})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_losses_are_paired_by_row_and_answers_by_whether_they_are_right(
    api: TestClient, submit: Callable[..., str], finish: Callable[..., None]
) -> None:
    good, bad = submit("good"), submit("bad")
    finish(good, losses([0.5] * 10) | generations([WANTED] * 10))
    finish(bad, losses([1.5] * 10) | generations(["We close at nine."] * 8 + [WANTED] * 2))
    found = compare(api, good, bad)
    (pair,) = found["pairs"]
    assert (pair["measure"], pair["better"], pair["gain"], pair["p_value"]) == ("loss", good, 1.0, 2 / 1024)
    exact, expected = found["answers"]["pairs"]
    assert (exact["measure"], exact["rows"], exact["only_first_right"], exact["only_second_right"]) == (
        "exact",
        10,
        8,
        0,
    )
    assert exact["p_value"] == pytest.approx(binomtest(0, 8).pvalue)
    assert exact["message"].startswith(
        "'good' gives the wanted answer word for word 80.0 points more often than 'bad' ("
    )
    assert (expected["measure"], expected["rows"], expected["gain"]) == ("expected", 5, 0.0)
    assert "'good' and 'bad' give answers that hold what is expected equally often" in expected["message"]
    assert found["answers"]["total"] == 8
    first = found["answers"]["rows"][0]
    assert (first["answers"], first["exact"]) == ([WANTED, "We close at nine."], [True, False])
    assert (first["holds_expected"], first["expected"]) == ([True, True], ["nine", "9"])
    assert found["flipped"] == []
    shown = [*describe(found), *describe_answers(found)]
    assert "0 rows with other predictions" not in shown
    assert "8 rows with other answers, the first 5:" in shown
    assert f"    wanted: {WANTED}" in shown
    assert f"    bad {bad[:8]}: We close at nine." in shown


def test_only_rows_that_both_answered_to_the_same_wanted_answer_are_held_together(
    api: TestClient, submit: Callable[..., str], finish: Callable[..., None]
) -> None:
    first, second, other = submit("a"), submit("b"), submit("c")
    finish(first, losses([1.0] * 6) | generations(["x"] * 4))
    finish(second, losses([1.0] * 6) | generations(["y"] * 4, first=2))
    finish(other, losses([1.0] * 6) | generations(["z"] * 4, wanted="Something else."))
    answers = compare(api, first, second, other)["answers"]
    assert [(pair["first"], pair["second"], pair["measure"], pair["rows"]) for pair in answers["pairs"]] == [
        (first, second, "exact", 2),
        (first, second, "expected", 1),
    ]
    assert [(row["row_id"], row["answers"]) for row in answers["rows"]] == [
        ("chat.jsonl:2", ["x", "y", None]),
        ("chat.jsonl:3", ["x", "y", None]),
    ]


def test_losses_of_other_tokens_are_not_held_together(
    api: TestClient, submit: Callable[..., str], finish: Callable[..., None]
) -> None:
    first, second = submit("a"), submit("b")
    finish(first, losses([1.0, 2.0]))
    finish(second, losses([1.0, 2.0], tokens=[6, 7]))
    found = compare(api, first, second)
    assert found["verdict"]["distinguishable"] is None
    assert "ask for other tokens of the same rows" in found["verdict"]["message"]
    assert found["answers"] == {"pairs": [], "rows": [], "total": 0, "left_out": []}


def test_a_damaged_file_of_answers_is_named_and_the_losses_are_compared(
    api: TestClient, submit: Callable[..., str], finish: Callable[..., None]
) -> None:
    first, second = submit("a"), submit("b")
    finish(first, losses([1.0, 2.0]) | generations(["x", "y"]))
    finish(second, losses([2.0, 4.0]) | {"generations.jsonl": b"{broken\n"})
    found = compare(api, first, second)
    assert found["pairs"][0]["better"] == first
    (left,) = found["answers"]["left_out"]
    assert (left["run"], "cannot be read" in left["reason"]) == (second, True)
