"""Blocks of a run over HTTP, and the evaluation rows behind their pieces."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from unit.api.answered_rows import Finish, Submit, ask, parquet, store_version

LABELS = ["pos", "neg", "neg", "pos", "neg", "pos"]
ANSWERS = ["pos", "pos", "neg", "pos", "pos", "neg"]


@pytest.fixture
def run_id(submit: Submit, finish: Finish) -> str:
    """A run that answered six rows, three of them wrongly."""
    made = submit()
    metrics = {
        "problem_type": "single_label_classification",
        "labels": ["neg", "pos"],
        "eval_accuracy": 0.5,
        "eval_confusion_matrix": [[1, 2], [1, 2]],
    }
    finish(made, parquet(label=LABELS, prediction=ANSWERS), **metrics)
    return made


def numbers(found: dict[str, Any]) -> list[int]:
    return [int(row["row_id"].rpartition(":")[2]) for row in found["rows"]]


def filters_of(block: dict[str, Any]) -> list[tuple[dict[str, Any], int]]:
    """Every filter that a block carries, and the rows that the block says are there."""
    if block["kind"] == "matrix":
        return [
            ({block["row_key"]: row, block["column_key"]: column}, count)
            for row, counts in zip(block["row_names"], block["values"], strict=True)
            for column, count in zip(block["column_names"], counts, strict=True)
        ]
    if block["kind"] == "table":
        places = [place for place, column in enumerate(block["columns"]) if column["format"] == "count"]
        return [(wanted, row[places[0]]) for wanted, row in zip(block["filters"], block["rows"], strict=True)]
    if block["kind"] == "curve":
        points = [point for line in block["lines"].values() for point in line]
        wanted = [one for line in block["filters"].values() for one in line]
        return [(one, count) for one, (_, count) in zip(wanted, points, strict=True)]
    return []


def test_rows_come_with_all_that_is_kept_of_their_answer(api: TestClient, run_id: str) -> None:
    found = ask(api, run_id, {})
    assert (found["run_id"], found["total"]) == (run_id, 6)
    assert found["columns"] == ["row_id", "label", "prediction", "outcome", "confidence", "file"]
    assert (found["version"], found["sortable"]) == (None, found["columns"])
    assert found["rows"][1] == {
        "row_id": "v.csv:1",
        "text": None,
        "text_pair": None,
        "label": "neg",
        "prediction": "pos",
        "probabilities": [0.25, 0.75],
        "outcome": False,
        "confidence": 0.75,
        "file": "v.csv",
        "index": None,
        "stored": None,
    }
    assert api.get(f"/experiments/{run_id}/rows").json() == found
    assert numbers(ask(api, run_id, {"outcome": False}, offset=1, limit=1)) == [4]


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ({"label": "neg", "prediction": "pos"}, [1, 4]),
        ({"label": "neg"}, [1, 2, 4]),
        ({"prediction": {"not": "pos"}}, [2, 5]),
        ({"outcome": True}, [0, 2, 3]),
        ({"row_id": "v.csv:3"}, [3]),
        ({"label": "nothing"}, []),
    ],
)
def test_filter_keeps_the_rows_that_it_names(api: TestClient, run_id: str, wanted: Any, rows: list[int]) -> None:
    found = ask(api, run_id, wanted)
    assert (numbers(found), found["total"]) == (rows, len(rows))


def test_every_piece_of_a_result_lists_as_many_rows_as_it_counts(api: TestClient, run_id: str) -> None:
    blocks = api.get(f"/experiments/{run_id}").json()["blocks"]
    assert {"figure", "matrix", "table"} == {block["kind"] for block in blocks}
    carried = [piece for block in blocks for piece in filters_of(block)]
    assert len(carried) == 4 + 2 + 2  # cells, labels, confused pairs
    assert [ask(api, run_id, wanted)["total"] for wanted, _ in carried] == [count for _, count in carried]
    (wrong,) = [block["filter"][1] for block in blocks if block["kind"] == "figure" and block["filter"]]
    assert numbers(ask(api, run_id, wrong)) == [1, 4, 5]


def test_rows_with_several_labels_are_found_by_one_or_by_all(api: TestClient, submit: Submit, finish: Finish) -> None:
    run_id = submit()
    finish(run_id, parquet(label=[["a"], ["a", "b"], []], prediction=[["a"], ["a"], []]))
    assert numbers(ask(api, run_id, {"label": "a"})) == [0, 1]
    assert numbers(ask(api, run_id, {"label": ["b", "a"]})) == [1]
    assert numbers(ask(api, run_id, {"label": []})) == [2]
    assert numbers(ask(api, run_id, {"label": "b", "prediction": {"not": "b"}})) == [1]
    assert numbers(ask(api, run_id, {"outcome": False})) == [1]
    nothing = submit()
    finish(nothing, parquet(label=[["a"], []], prediction=[[], []]))  # a column of lists without a single value
    assert numbers(ask(api, nothing, {"outcome": True})) == [1]
    assert numbers(ask(api, nothing, {"prediction": "a"})) == []


def test_rows_with_numbers_are_found_by_ranges(api: TestClient, submit: Submit, finish: Finish) -> None:
    run_id = submit()
    residuals = {"edges": [-1.0, 0.0, 1.0], "counts": [1, 3]}
    kept = parquet(label=[0.0, 0.0, 4.0, 4.0], prediction=[1.0, 1.0, 4.0, 3.0])
    finish(run_id, kept, problem_type="regression", eval_residuals=residuals)
    assert numbers(ask(api, run_id, {"residual": [0.5, 2]})) == [0, 1]
    assert numbers(ask(api, run_id, {"residual": -1})) == [3]
    # As of a file of an earlier version, which kept no outcome: it is the squared error, as files have it since.
    assert [row["outcome"] for row in ask(api, run_id, {})["rows"]] == [1.0, 1.0, 0.0, 1.0]
    assert numbers(ask(api, run_id, {"label": [None, None]})) == [0, 1, 2, 3]
    (curve,) = [block for block in api.get(f"/experiments/{run_id}").json()["blocks"] if block["kind"] == "curve"]
    assert [ask(api, run_id, wanted)["total"] for wanted, _ in filters_of(curve)] == [1, 3]


def test_rows_that_keep_an_outcome_are_asked_for_it(api: TestClient, submit: Submit, finish: Finish) -> None:
    run_id = submit()
    finish(run_id, parquet(label=[0.0, 0.0], prediction=[1.0, 3.0], outcome=[1.0, 9.0]))
    assert numbers(ask(api, run_id, {"outcome": [4, None]})) == [1]
    assert ask(api, run_id, {})["columns"] == [
        *("row_id", "label", "prediction", "outcome", "residual", "error", "file")
    ]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ('{"colour": "red"}', "no column 'colour' to filter by; allowed: row_id, label, prediction, outcome"),
        ('{"probabilities": 0.25}', "no column 'probabilities'"),
        ('{"label": 3}', "allowed: a text"),
        ('{"label": "\\ud800"}', "allowed: a text"),
        ('{"label": {"like": "x"}}', 'the one key "not"'),
        ('{"label": {"not": {"not": "x"}}}', 'the one key "not"'),
        ('{"outcome": 1}', "allowed: true or false"),
        ("[1]", "the filter is no JSON object"),
        ("{", "the filter is no JSON: "),
        ("[" * 9000, "the filter is no JSON: "),
    ],
)
def test_filter_that_fits_no_column_is_refused(api: TestClient, run_id: str, wanted: str, words: str) -> None:
    answer = api.get(f"/experiments/{run_id}/rows", params={"filter": wanted})
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["message"]
    assert answer.json()["remedy"]


@pytest.mark.parametrize("wanted", ["NaN", "1e999", "[1]", "[1, 2, 3]", '["a", null]', f"1{'0' * 400}"])
def test_range_that_is_none_is_refused(api: TestClient, submit: Submit, finish: Finish, wanted: str) -> None:
    run_id = submit()
    finish(run_id, parquet(label=[0.0], prediction=[1.0]))
    answer = api.get(f"/experiments/{run_id}/rows", params={"filter": f'{{"label": {wanted}}}'})
    assert (answer.status_code, "[from, below]" in answer.json()["message"]) == (422, True)


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "offset=-1", "offset=99999999999999999999"])
def test_page_outside_of_its_bounds_is_refused(api: TestClient, run_id: str, query: str) -> None:
    assert api.get(f"/experiments/{run_id}/rows?{query}").status_code == 422


def test_rows_that_are_not_there_say_why(api: TestClient, submit: Submit, finish: Finish, run_id: str) -> None:
    waiting = api.get(f"/experiments/{submit('waiting')}/rows")
    assert (waiting.status_code, "is QUEUED and has no predictions" in waiting.json()["message"]) == (409, True)
    without, broken = submit("without"), submit("broken")
    finish(without)
    finish(broken, {"predictions.parquet": b"no parquet"})
    folder = Path("results") / api.get(f"/experiments/{run_id}").json()["folder"]
    (folder / "predictions.parquet").write_bytes(b"changed since")
    for name, words in ((without, "are missing"), (broken, "cannot be read"), (run_id, "not as they were published")):
        answer = api.get(f"/experiments/{name}/rows")
        assert (answer.status_code, words in answer.json()["message"]) == (507, True), answer.text
        assert "backup" in answer.json()["remedy"]


def test_rows_come_with_their_texts_while_the_version_is_stored(
    api: TestClient, submit: Submit, finish: Finish
) -> None:
    run_id = submit()
    finish(run_id, parquet(label=["pos", "neg"], prediction=["pos", "pos"]))
    digest = store_version(api, run_id, {"v.csv:0": ("good", "pos"), "v.csv:1": ("bad", "neg")})
    found = ask(api, run_id, {"outcome": False})
    assert [(row["row_id"], row["text"]) for row in found["rows"]] == [("v.csv:1", "bad")]
    (row,) = found["rows"]
    assert (found["version"], row["index"], row["stored"]) == (digest, 1, {"label": "neg"})
    assert (row["length"], row["script"], row["file"]) == (3, "Latin", "v.csv")


def test_an_order_or_a_text_that_rows_do_not_have_is_refused(api: TestClient, run_id: str) -> None:
    for query, words in (("sort_by=probabilities", "cannot be sorted by"), ("text=good", "not stored any more")):
        answer = api.get(f"/experiments/{run_id}/rows?{query}")
        assert (answer.status_code, words in answer.json()["message"]) == (422, True), answer.text


def test_several_labels_are_as_sure_as_the_one_decided_most_narrowly(
    api: TestClient, submit: Submit, finish: Finish
) -> None:
    run_id = submit()
    frame = pl.DataFrame(
        {
            "row_id": ["v.csv:0", "v.csv:1"],
            "label": [["a"], ["a", "b"]],
            "prediction": [["a"], ["b"]],
            "probabilities": [[0.9, 0.2], [0.45, 0.99]],
        }
    )
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    finish(run_id, {"predictions.parquet": buffer.getvalue()})
    assert [row["confidence"] for row in ask(api, run_id, {})["rows"]] == pytest.approx([0.8, 0.55])


def test_details_of_a_run_without_metrics_have_no_blocks(api: TestClient, submit: Submit) -> None:
    assert api.get(f"/experiments/{submit()}").json()["blocks"] == []
