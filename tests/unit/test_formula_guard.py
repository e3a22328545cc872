"""Cells that a spreadsheet would run: one rule, with two copies, since the page imports nothing of the house."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import polars as pl
import pytest

from finetune30.data.questions import Question
from finetune30.data.sources.folders import load_folder
from finetune30.data.versions.checkout import save_splits
from finetune30.service.models.answer_files import save_answers
from finetune30.service.models.predict import Answered
from finetune30.training.problem import Answer
from finetune30.ui import display
from finetune30.values import encode_csv, guard_formula, unguard_formula

CELLS = ["", "plain", "=1+1", "  =1+1", "+a", "-a", "@a", "\t=a", "\r=a", "\n=a", "'quoted", "a=b", " plain"]


@pytest.mark.parametrize("cell", CELLS)
def test_both_copies_guard_alike_and_what_was_guarded_can_be_read_back(cell):
    guarded = guard_formula(cell)
    assert display._without_formula(cell) == guarded
    assert unguard_formula(guarded) == cell
    assert not guarded.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


@pytest.mark.parametrize("cell", CELLS)
def test_csv_holds_no_formula_in_cells_and_headings(cell: str) -> None:
    rows = list(csv.reader(io.StringIO(encode_csv(["name", f"p_{cell}", cell], [[cell, -1.5, None]]), newline="")))
    assert rows[1] == [guard_formula(cell), "-1.5", ""]
    assert rows[0][2] == guard_formula(cell)
    of_the_page = display.save_csv(["name"], [[cell]]).decode("utf-8-sig")
    assert list(csv.reader(io.StringIO(of_the_page, newline="")))[1:] == [rows[1][:1]]


def test_csv_writes_lists_and_truth_values_as_json() -> None:
    assert (
        encode_csv(["a", "b", "c"], [[["=x", 1], True, {"k": None}]]) == 'a,b,c\n"[""=x"", 1]",true,"{""k"": null}"\n'
    )


def test_predictions_hold_no_formula() -> None:
    answer = Answer({}, {"prediction": "=b|c", "=p": 0.5}, "")
    save_answers(Path("p.csv"), [Answered(Question("=HYPERLINK(1)", row_id="a.csv:2"), answer)])
    with Path("p.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["row_id", "text", "text_pair", "prediction", "'=p"],
            ["a.csv:2", "'=HYPERLINK(1)", "", "'=b|c", "0.5"],
        ]


def test_checkout_gives_the_same_rows_again() -> None:
    texts = ["=1+1", "'=1+1", "+a", "@a", " -a", "plain"]
    save_splits(
        {"train": pl.DataFrame({"text": texts, "text_pair": None, "label": "=x", "origin": "a:1"})}, Path("out")
    )
    (table,) = load_folder(Path("out"))["train"]
    assert table.frame.select("text", "label").rows() == [(text, "=x") for text in texts]
