"""Evaluation rows by their texts, and how good a run is on parts of them, over HTTP."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from scipy.stats import binomtest
from scipy.stats import t as student
from starlette.testclient import TestClient

from unit.api.answered_rows import Finish, Submit, ask, ids, parquet, store_version

#: Row -> text and label: two files, three scripts and a text without letters.
TEXTS = {
    "v.csv:0": ("Where is my REFUND", "pos"),
    "v.csv:1": ("a film", "neg"),
    "v.csv:2": ("退款在哪裡？房間很乾淨", "neg"),
    "v.csv:3": ("12345", "pos"),
    "w.csv:0": ("мне нужен возврат", "neg"),
    "w.csv:1": ("no refund at all", "pos"),
}


@pytest.fixture
def texts_run(api: TestClient, submit: Submit, finish: Finish) -> str:
    """A run on six rows with their texts; two of the first file and one of the second are answered wrongly."""
    made = submit()
    shares = [0.9, 0.6, 0.7, 0.99, 0.8, 0.55]
    frame = pl.DataFrame(
        {
            "row_id": list(TEXTS),
            "label": [label for _, label in TEXTS.values()],
            "prediction": ["neg", "pos", "neg", "pos", "pos", "pos"],
            "probabilities": [[1 - share, share] for share in shares],
            "outcome": [False, False, True, True, False, True],
        }
    )
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    finish(made, {"predictions.parquet": buffer.getvalue()})
    store_version(api, made, TEXTS)
    return made


@pytest.mark.parametrize(
    ("sort_by", "desc", "rows"),
    [
        ("confidence", True, ["v.csv:0", "w.csv:0", "v.csv:1"]),
        ("confidence", False, ["v.csv:1", "w.csv:0", "v.csv:0"]),
        ("length", False, ["v.csv:1", "w.csv:0", "v.csv:0"]),
        (None, False, ["v.csv:0", "v.csv:1", "w.csv:0"]),
        (None, True, ["w.csv:0", "v.csv:1", "v.csv:0"]),
    ],
)
def test_wrong_rows_come_in_the_order_that_is_asked_for(
    api: TestClient, texts_run: str, sort_by: str | None, desc: bool, rows: list[str]
) -> None:
    order = {"sort_by": sort_by} if sort_by else {}
    assert ids(ask(api, texts_run, {"outcome": False}, desc=desc, **order)) == rows
    page = ask(api, texts_run, {"outcome": False}, desc=desc, offset=1, limit=1, **order)
    assert (ids(page), page["total"]) == (rows[1:2], 3)


@pytest.mark.parametrize(
    ("wanted", "text", "rows"),
    [
        ({}, "refund", ["v.csv:0", "w.csv:1"]),
        ({}, "ВОЗВРАТ", ["w.csv:0"]),
        ({}, "房間", ["v.csv:2"]),
        ({"outcome": True}, "refund", ["w.csv:1"]),
        ({}, ".*", []),
        ({"script": "Han"}, "", ["v.csv:2"]),
        ({"script": ""}, "", ["v.csv:3"]),
        ({"file": "w.csv"}, "", ["w.csv:0", "w.csv:1"]),
        ({"length": [10, 17]}, "", ["v.csv:2", "w.csv:1"]),
        ({"confidence": [0.9, None]}, "", ["v.csv:0", "v.csv:3"]),
    ],
)
def test_rows_are_found_by_their_texts_and_what_these_are_like(
    api: TestClient, texts_run: str, wanted: Any, text: str, rows: list[str]
) -> None:
    assert ids(ask(api, texts_run, wanted, text=text)) == rows


def slices_of(api: TestClient, run_id: str, wanted: Any = None) -> dict[str, Any]:
    answer = api.get(f"/experiments/{run_id}/slices", params={"filter": json.dumps(wanted or {})})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_parts_have_their_rows_share_interval_and_filter(api: TestClient, texts_run: str) -> None:
    found = slices_of(api, texts_run)
    assert (found["rows"], found["measure"]) == (6, "right")
    tables = {table["key"]: table for table in found["tables"]}
    assert list(tables) == ["length", "script", "file"]
    everything, first, second = tables["file"]["rows"]
    assert (everything[1:3], first[:3], second[:3]) == ([6, 0.5], ["v.csv", 4, 0.5], ["w.csv", 2, 0.5])
    for row in (everything, first, second):
        interval = binomtest(round(row[1] * row[2]), row[1]).proportion_ci(method="wilson")
        assert row[3:5] == pytest.approx([interval.low, interval.high])
    assert first[5] == pytest.approx((0.9 + 0.6 + 0.7 + 0.99) / 4)
    for table in tables.values():
        listed = [ask(api, texts_run, wanted)["total"] for wanted in table["filters"]]
        assert listed == [row[1] for row in table["rows"]]
        assert sum(listed[1:]) == listed[0] == 6
    assert {row[0]["en"] for row in tables["script"]["rows"][1:]} == {
        *("Latin", "Han (Chinese, Japanese)", "Cyrillic", "no letters")
    }


def test_parts_of_the_rows_that_a_filter_keeps(api: TestClient, texts_run: str) -> None:
    found = slices_of(api, texts_run, {"label": "neg"})
    (table,) = [table for table in found["tables"] if table["key"] == "file"]
    assert [row[:3] for row in table["rows"][1:]] == [["v.csv", 2, 0.5], ["w.csv", 1, 0.0]]
    assert slices_of(api, texts_run, {"label": "nothing"})["tables"] == []


@pytest.mark.parametrize("numbers", [False, True])
def test_parts_of_enough_rows_are_tested_against_the_rest_all_together(
    api: TestClient, submit: Submit, finish: Finish, numbers: bool
) -> None:
    run_id, rows = submit(), 100
    is_right = [row < 62 or row % 3 == 0 for row in range(rows)]  # of the shorter ones all, of the others a third
    if numbers:
        label = [float(row % 7) for row in range(rows)]
        outcome = [0.0 if right else 1.0 + row % 5 for row, right in enumerate(is_right)]
        kept = parquet(label=label, prediction=label, outcome=outcome)
        finish(run_id, kept, problem_type="regression")
        labels = [str(value) for value in label]
    else:
        labels = ["neg"] * rows
        kept = parquet(label=labels, prediction=["neg" if right else "pos" for right in is_right], outcome=is_right)
        finish(run_id, kept)
    texts = {f"v.csv:{n}": ("a" * (1 if n < 24 else 9 if n < 62 else 40), labels[n]) for n in range(rows)}
    store_version(api, run_id, texts)
    (table,) = slices_of(api, run_id)["tables"]
    assert table["columns"][-1]["title"]["en"] == "p against the rest (Holm)"
    tested = {row[0]: row[-1] for row in table["rows"][1:]}
    parts = {name: row[1] for name, row in zip(tested, table["rows"][1:], strict=True)}
    assert table["rows"][0][-1] is None, "all rows have no rest"
    assert {name: p is None for name, p in tested.items()} == {name: count < 30 for name, count in parts.items()}
    few = [place for place, row in enumerate(table["rows"]) if row[1] < 30]
    assert table["faint"] == few
    assert few
    assert {language: "30" in text for language, text in table["note"].items()} == {"en": True, "zh": True}
    known = [p for p in tested.values() if p is not None]
    assert len(known) > 1
    assert min(known) < 0.001


def test_parts_of_numbers_have_their_error_and_which_way_it_goes(
    api: TestClient, submit: Submit, finish: Finish
) -> None:
    run_id = submit()
    label, given = [0.0, 0.0, 4.0, 4.0], [1.0, 2.0, 4.0, 3.0]
    kept = parquet(label=label, prediction=given, outcome=[1.0, 4.0, 0.0, 1.0])
    finish(run_id, kept, problem_type="regression")
    store_version(api, run_id, {f"v.csv:{n}": ("a" * (1 if n < 2 else 50), str(label[n])) for n in range(4)})
    found = slices_of(api, run_id)
    assert (found["measure"], "error" in found["sortable"]) == ("squared_error", True)
    (table,) = found["tables"]  # one script and one file tell nothing apart
    assert [row[:3] for row in table["rows"][1:]] == [["1–49", 2, 2.5], ["50", 2, 0.5]]
    assert [row[5] for row in table["rows"]] == pytest.approx([0.5, 1.5, -0.5])
    half = student.ppf(0.975, 1) * 0.5  # the standard error of 0 and 1
    assert table["rows"][2][3:5] == pytest.approx([0.5 - half, 0.5 + half])
    assert ids(ask(api, run_id, {}, sort_by="error", desc=True)) == ["v.csv:1", "v.csv:0", "v.csv:3", "v.csv:2"]


def test_a_changed_file_is_read_anew(api: TestClient, texts_run: str) -> None:
    """What was asked for before is kept, and must not outlive the files."""
    assert ask(api, texts_run, {})["total"] == 6
    folder = Path("results") / api.get(f"/experiments/{texts_run}").json()["folder"]
    (folder / "predictions.parquet").write_bytes(b"changed since")
    assert api.get(f"/experiments/{texts_run}/rows").status_code == 507
