"""What cells of labels are read as: text stays what it is, forms are told and said, doubt is refused."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune30.data.problem import Settled
from finetune30.errors import DataError
from finetune30.problems import choose_problem

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


def settle(cells: Sequence[str | None], problem: str = "auto", outputs: int | None = None, **more: str) -> Settled:
    series = pl.Series("label_text", list(cells), dtype=pl.String)
    return choose_problem(problem).settle(series, more.get("separator"), outputs)


def said(settled: Settled) -> str:
    return "\n".join(found.describe() for found in settled.detected)


@pytest.mark.parametrize(
    "cells",
    [
        ["0101", "0912"],
        ["01", "1", "012"],
        ["9007199254740993", "9007199254740992"],
        ["1577134800018164904", "1577134800018164905"],
        ["100000000000000000001", "100000000000000000002"],
        ["１", "０"],
        ["1", "１"],
        ["١", "٥"],
        ["²", "³"],
        ["0", "1", "1.0", "unsure"],
        ["true", "True", "maybe"],
        ["True", "False"],
        ["1e3", "2e3"],
        ["1_000", "2_000"],
    ],
)
def test_labels_that_are_not_plainly_numbers_stay_as_they_were_written(cells):
    settled = settle(cells, outputs=len(cells))
    assert settled.problem.name == SINGLE
    assert settled.targets.to_list() == cells
    assert set(settled.problem.plan(settled.targets, None, ())["label_names"]) == set(cells)


@pytest.mark.parametrize(
    ("cells", "read", "words"),
    [
        (["0.0", "1.0"], ["0", "1"], "2 of them spelled like '0.0', '1.0'"),
        (["1", "1.0", "2"], ["1", "1", "2"], "1 of them spelled like '1.0'"),
        (["9007199254740993.0", "0.0"], ["9007199254740993", "0"], "all labels are such"),
        (["-0.0", "+1", "-1"], ["0", "1", "-1"], "2 of them spelled like '+1', '-0.0'"),
        (
            ["true", "True", "FALSE", "false"],
            ["true", "true", "false", "false"],
            "some of them spelled 'FALSE', 'True'",
        ),
        (["café", "cafe\u0301", "thé"], ["café", "café", "thé"], "1 label differs from them only in the form"),
    ],
)
def test_spellings_of_one_label_are_joined_and_said(cells, read, words):
    settled = settle(cells, outputs=2)
    assert settled.targets.to_list() == read
    assert words in said(settled)


def test_a_form_that_no_other_label_has_stays_as_the_file_wrote_it():
    cells = ["cafe\u0301", "thé"]
    assert settle(cells, outputs=2).targets.to_list() == cells


def test_labels_of_one_value_that_stay_two_are_said():
    assert "different labels of one value: '01', '1'" in said(settle(["01", "1", "2"], outputs=3))
    assert "'1', '1.0'" in said(settle(["0", "1", "1.0", "unsure"], outputs=4))


def test_classes_are_ordered_by_exact_value():
    cells = ["9007199254740993", "10", "9007199254740992", "-3", "9"]
    settled = settle(cells, outputs=5)
    ordered = ["-3", "9", "10", "9007199254740992", "9007199254740993"]
    assert settled.problem.plan(settled.targets, 5, ())["label_names"] == ordered
    assert list(settled.problem.count(settled.targets)) == ordered


@given(st.lists(st.text(min_size=1).filter(lambda text: text == text.strip()), min_size=1, max_size=6))
def test_no_text_is_lost_but_by_what_is_said(cells):
    settled = settle(cells, SINGLE)
    changed = {a: b for a, b in zip(cells, settled.targets, strict=True) if a != b}
    assert not changed or settled.detected
    for before, after in changed.items():
        plain = before.lower() == after or unicodedata.normalize("NFC", before) == after
        number = after in {"0", before.lstrip("+").partition(".")[0]}
        assert plain or number or json.loads(before)[0] is not None


@pytest.mark.parametrize(
    ("cells", "outputs", "problem", "because"),
    [
        (["a", "b", "a"], 2, SINGLE, "every row has one label, and the labels are 2 different names"),
        (["0", "1"], 2, SINGLE, "the labels are 2 different whole numbers"),
        (["0.5", "1"], None, REGRESSION, "the labels are numbers that are not all whole"),
        (["0.5", "1"], 1, REGRESSION, "model.num_labels is 1"),
        ([str(n) for n in range(101)], None, REGRESSION, "whole numbers of 101 different values"),
        ([f"{n:04}" for n in range(101)], None, SINGLE, "101 different whole numbers"),
        ([str(10**18 + n) for n in range(101)], None, SINGLE, "101 different whole numbers"),
        (['["a", "b"]', "[]"], 2, MULTI, "each of the 2 labels is a list"),
        (['["a", "b"]', "a"], 2, MULTI, "1 of 2 labels are lists"),
        (["a", "b", '["a"]'], 3, SINGLE, "every row has one label"),
    ],
)
def test_the_kind_of_problem_is_said_with_its_evidence_and_its_key(cells, outputs, problem, because):
    settled = settle(cells, outputs=outputs)
    assert settled.problem.name == problem
    first = settled.detected[0]
    assert first.found == f"the problem is {problem}"
    assert because in first.because
    assert first.key == "model.problem_type"


def test_a_separator_tells_several_labels():
    settled = settle(["a|b", "b"], separator="|")
    assert settled.targets.to_list() == ['["a", "b"]', '["b"]']
    assert settled.detected[0].because == "data.label_separator is set"


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (["[1, 0, 1]", "[0, 1, 0]", "[0, 0, 0]"], ['["0", "2"]', '["1"]', "[]"]),
        (["[1.0, 0.0]", "[0.0, 1.0]"], ['["0"]', '["1"]']),
        (["[true, false]", "[true, true]"], ['["0"]', '["0", "1"]']),
        (["[True, False]", "[False, False]"], ['["0"]', "[]"]),
    ],
)
@pytest.mark.parametrize("problem", ["auto", MULTI])
def test_vectors_of_0_and_1_name_classes_by_their_places(cells, read, problem):
    settled = settle(cells, problem, outputs=len(json.loads(cells[0].lower())))
    assert settled.problem.name == MULTI
    assert settled.targets.to_list() == read
    assert "labels read as vectors, whose classes are called 0 to" in said(settled)
    assert settled.names == tuple(str(n) for n in range(len(json.loads(cells[0].lower()))))


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (["[0]", "[1]", "[0, 1]", "[]"], ['["0"]', '["1"]', '["0", "1"]', "[]"]),
        (["[3, 7]", "[7]"], ['["3", "7"]', '["7"]']),
        (["[1.0, 2.0]", "[2.0]"], ['["1", "2"]', '["2"]']),
        (['["0", "1"]', '["1"]'], ['["0", "1"]', '["1"]']),
        (["['joy', 'calm']", "['anger']"], ['["calm", "joy"]', '["anger"]']),
        (["['it\\'s', \"so\"]", "[]"], ['["it\'s", "so"]', "[]"]),
        (['["a", null]', '["b", "a"]'], ['["a"]', '["a", "b"]']),
        (['["caf\u00e9", "x"]', '["cafe\u0301"]'], ['["café", "x"]', '["café"]']),
    ],
)
def test_lists_of_names_and_ids(cells, read):
    settled = settle(cells, outputs=2)
    assert settled.problem.name == MULTI
    assert settled.targets.to_list() == read
    assert settled.names == ()


def test_lists_of_python_are_said():
    assert "labels read as lists of Python: 2 labels are written so" in said(settle(["['a', 'b']", "['a']"]))


@pytest.mark.parametrize(
    ("cells", "read"), [(['["pos"]', '["neg"]'], ["pos", "neg"]), (["['pos']", "[3]"], ["pos", "3"])]
)
def test_lists_of_one_item_each_are_one_label_a_row(cells, read):
    settled = settle(cells, outputs=2)
    assert settled.problem.name == SINGLE
    assert settled.targets.to_list() == read
    assert "each of the 2 labels is a list of one item (to say otherwise, set model.problem_type)" in said(settled)
    otherwise = settle(cells, MULTI, outputs=2)
    assert otherwise.targets.to_list() == [json.dumps([name]) for name in read]


def test_numbers_in_lists_of_one_are_quantities_where_one_output_asks_for_them():
    settled = settle(["[0.5]", "[1.5]"], outputs=1)
    assert settled.problem.name == REGRESSION
    assert settled.targets.to_list() == ["0.5", "1.5"]


@pytest.mark.parametrize("cells", [["[1 0 1]", "[0 1 1]"], ["[news]", "[sport, art]"], ["[[0, 5]]", '[{"a": 1}]']])
def test_brackets_that_are_no_lists_are_refused_and_the_remedy_is_right(cells):
    for problem in ("auto", MULTI):
        with pytest.raises(DataError, match="2 labels stand in brackets and are no lists of labels") as caught:
            settle(cells, problem)
    assert "set model.problem_type to single_label_classification" in str(caught.value.remedy)
    followed = settle(cells, SINGLE)
    assert (followed.problem.name, followed.targets.to_list()) == (SINGLE, cells)
    lists = settle(['["joy", "calm"]', '["joy"]'])
    assert lists.targets.to_list() == ['["calm", "joy"]', '["joy"]']


def test_vectors_of_different_lengths_are_refused_and_the_remedy_is_right():
    with pytest.raises(DataError, match="some have 2 entries, some 3") as caught:
        settle(["[1, 0, 0]", "[0, 1]"])
    assert caught.value.remedy == "give every row a vector of the same length, or write lists of names"
    assert settle(["[1, 0, 0]", "[0, 1, 0]"]).targets.to_list() == ['["0"]', '["1"]']


def test_one_class_for_each_list_is_said_where_one_label_was_asked_for():
    settled = settle(['["a", "b"]', '["a"]'], SINGLE)
    assert settled.targets.to_list() == ['["a", "b"]', '["a"]']
    assert "labels read as one class for each list: 2 labels are lists" in said(settled)
