"""Answers to a whole file as CSV."""

from __future__ import annotations

import csv
from types import SimpleNamespace
from typing import Any

import pytest

from finetune30.ui.views import try_file

Json = dict[str, Any]


def _read(column: str, text: str) -> Json:
    question = {"row_id": "1", "text": text, "text_pair": None, "columns": {"kept": "k"}}
    return {"read": {"text": column}, "questions": [question]}


@pytest.mark.parametrize("other", ["title", "body"])
def test_a_run_that_reads_other_columns_has_its_own_texts(monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    monkeypatch.setattr(try_file, "st", SimpleNamespace(progress=lambda *_: SimpleNamespace(empty=lambda: None)))
    monkeypatch.setattr(try_file, "_collect", lambda run_id, questions, bar: [{"label": q["text"]} for q in questions])
    monkeypatch.setattr(try_file, "describe", lambda run: run["name"])
    read = {"a" * 32: _read("title", "of title"), "b" * 32: _read(other, f"of {other}")}
    content = try_file._predict({"a" * 32: {"name": "one"}, "b" * 32: {"name": "two"}}, read)
    assert content is not None
    row = next(csv.DictReader(content.decode("utf-8-sig").splitlines()))
    assert (row["text"], row["one aaaaaaaa prediction"], row["kept"]) == ("of title", "of title", "k")
    assert row["two bbbbbbbb prediction"] == f"of {other}"
    assert row.get("two bbbbbbbb text") == (None if other == "title" else "of body")


def test_a_label_stands_beside_its_own_probability() -> None:
    by_threshold = {"labels": ["spam"], "probabilities": {"ham": 0.75, "spam": 0.25}, "confidence": 0.25}
    several = {"labels": ["a", "b"], "probabilities": {"a": 0.3, "b": 0.9, "c": 0.4}, "confidence": 0.3}
    none = {"labels": [], "probabilities": {"a": 0.3}, "confidence": 0.7}
    assert [try_file._share_cell(answer) for answer in (by_threshold, several, none)] == [0.25, "0.3|0.9", None]
    assert try_file._answer_cell(several) == "a|b"


def test_an_answer_that_is_withheld_is_said_and_has_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(try_file, "t", lambda key: key)
    withheld: Json = {
        "text": "?",
        "no_answer": {"code": "not_sure", "message": "…"},
        "probabilities": {"a": 0.6, "b": 0.4},
    }
    withheld["confidence"] = 0.6
    silent = {"text": " ", "no_answer": {"code": "no_tokens", "message": "…"}}
    assert [try_file._answer_cell(answer) for answer in (withheld, silent)] == ["try.not_sure", "try.no_tokens"]
    assert [try_file._share_cell(answer) for answer in (withheld, silent)] == [None, None]
    assert try_file.parts_of(withheld) == [{"a": 0.6, "b": 0.4}]
