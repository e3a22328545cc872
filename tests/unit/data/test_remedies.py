"""What an error about data says to do is done to the letter, and the data is then read as it should be."""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from finetune30.config import DataConfig
from finetune30.config.loading import validate_tree
from finetune30.data.prepare import PreparedData, prepare_data, record_version
from finetune30.data.versions.storage import VersionStore
from finetune30.errors import DataError, DataFileError
from finetune30.problems import choose_problem
from support.toys.next_token.data import PROBLEMS

Rows = list[list[Any]]


def save(path: Path, header: list[str], rows: Rows) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, lineterminator="\n").writerows([header, *rows])
    return path


def rows_of(count: int, labels: tuple[Any, ...] = ("no", "yes")) -> Rows:
    return [[f"this is text number {n}", labels[n % len(labels)]] for n in range(count)]


def prepare(path: Path | str, num_labels: int = 2, problem: str = "auto", **data: Any) -> PreparedData:
    # Read as a file of configuration is read, so that a value of a remedy stands for what it would there.
    tree = {"dataset_name": str(path), "train_samples": None, "eval_samples": None, **data}
    config = validate_tree({"data": tree, "model": {"num_labels": num_labels, "problem_type": problem}})
    chosen = choose_problem(config.model.problem_type)
    return prepare_data(config.data, problem=chosen, num_labels=num_labels, seed=0, log=lambda _: None)


def remedy_of(ask: Callable[[], Any]) -> str:
    with pytest.raises(DataError) as caught:
        ask()
    return str(caught.value.remedy)


def setting_in(remedy: str) -> tuple[str, Any]:
    """Return the key and value of `set SECTION.KEY to VALUE`."""
    found = re.search(r"set (?:data|model)\.(\w+) to (\[.*?\]|'[^']*'|\d+)", remedy)
    assert found is not None, remedy
    return found[1], ast.literal_eval(found[2])


def labels_of(data: PreparedData) -> dict[str, str]:
    return dict([*data.train.select("text", "label_text").rows(), *data.evaluation.select("text", "label_text").rows()])


def wanted(rows: Rows, text: int = 0, label: int = 1) -> dict[str, str]:
    return {row[text]: str(row[label]) for row in rows}


def test_the_nearest_column_is_the_one_that_was_meant(tmp_path):
    rows = rows_of(40)
    path = save(tmp_path / "a.csv", ["sentence", "mood"], rows)
    for named in (dict[str, Any](text_column="sentense"), dict[str, Any](label_column="moood")):
        remedy = remedy_of(partial(prepare, path, **named))
        key, value = setting_in(remedy)
        assert {key} == set(named)
        assert labels_of(prepare(path, **{key: value})) == wanted(rows)


def test_a_column_that_plays_another_role_is_never_proposed(tmp_path):
    path = save(tmp_path / "a.csv", ["text", "x1"], rows_of(40))
    remedy = remedy_of(lambda: prepare(path, text_column="text", label_column="texts"))
    assert remedy == "set data.label_column to one of them"
    assert labels_of(prepare(path, text_column="text", label_column="x1")) == wanted(rows_of(40))


def test_columns_that_nothing_tells_are_named_one_after_the_other(tmp_path):
    rows = [[n, f"this is text number {n}", ("no", "yes")[n % 2]] for n in range(40)]
    path = save(tmp_path / "a.csv", ["nr", "phrase", "mood"], rows)
    named: dict[str, Any] = {}
    for key, column in (("label_column", "mood"), ("text_column", "phrase")):
        remedy = remedy_of(lambda: prepare(path, **named))
        assert remedy.startswith(f"set data.{key} to one of them")
        assert remedy.endswith("; if this is a row of data, add a header line above it")
        named[key] = column
    assert labels_of(prepare(path, **named)) == wanted(rows, 1, 2)


def test_a_header_above_a_row_of_data_brings_the_row_back(tmp_path):
    rows = rows_of(40)
    path = save(tmp_path / "a.csv", rows[0], rows[1:])
    remedy = remedy_of(lambda: prepare(path))
    assert "add a header line above it, such as text,label" in remedy
    key, value = setting_in(remedy)
    # Whoever insists that it is a header loses no other row.
    assert labels_of(prepare(path, **{key: value})) == wanted(rows[1:])
    path.write_text("text,label\n" + path.read_text())
    assert labels_of(prepare(path)) == wanted(rows)


def test_columns_of_0_and_1_are_taken_as_the_error_names_them(tmp_path):
    rows = [[n, f"this is comment number {n}", n % 2, n // 2 % 2] for n in range(40)]
    path = save(tmp_path / "a.csv", ["id", "comment_text", "toxic", "obscene"], rows)
    key, value = setting_in(remedy_of(lambda: prepare(path)))
    assert (key, value) == ("label_columns", ["toxic", "obscene"])
    lists = ["[]", '["toxic"]', '["obscene"]', '["obscene", "toxic"]']
    assert labels_of(prepare(path, **{key: value})) == {row[1]: lists[n % 4] for n, row in enumerate(rows)}


def test_a_class_without_column_is_replaced_by_one_that_has(tmp_path):
    rows = [[f"this is text number {n}", n % 2, n // 2 % 2] for n in range(40)]
    path = save(tmp_path / "a.csv", ["text", "toxic", "obscene"], rows)
    remedy = remedy_of(lambda: prepare(path, label_columns=["toxic", "obscen"]))
    assert remedy == "put one of them in the place of 'obscen' in data.label_columns"
    assert prepare(path, label_columns=["toxic", "obscene"]).targets["label_names"] == ["toxic", "obscene"]


def test_label_columns_of_a_problem_without_labels_are_left_out_or_its_problem_changed(tmp_path):
    rows = [[f"this is text number {n}", n % 2, n // 2 % 2] for n in range(40)]
    path = save(tmp_path / "a.csv", ["passage", "toxic", "obscene"], rows)
    config = DataConfig(dataset_name=str(path), label_columns=["toxic", "obscene"])
    (problem,) = PROBLEMS.values()
    ask: dict[str, Any] = {"problem": problem, "num_labels": 2, "seed": 0, "log": lambda _: None}
    remedy = remedy_of(lambda: prepare_data(config, **ask))
    assert remedy == "leave data.label_columns out, or set model.problem_type to multi_label_classification"
    assert prepare_data(config.model_copy(update={"label_columns": None}), **ask).problem is problem
    multi = prepare(path, problem="multi_label_classification", label_columns=["toxic", "obscene"])
    assert multi.targets["label_names"] == ["toxic", "obscene"]


def test_an_unlabelled_test_file_is_left_out_and_one_that_was_named_has_to_follow_the_first(tmp_path):
    rows = [[n, f"this is text number {n}", n % 2] for n in range(40)]
    save(tmp_path / "train.csv", ["id", "text", "target"], rows)
    test = save(tmp_path / "test.csv", ["id", "text"], [[n, f"another text number {n}"] for n in range(9)])
    data = prepare(tmp_path)
    assert labels_of(data) == wanted(rows, 1, 2)
    named: dict[str, Any] = {"eval_file": str(test)}
    remedy = remedy_of(lambda: prepare(tmp_path / "train.csv", **named))
    assert remedy == "name the column 'target', as in the first file"
    save(test, ["id", "text", "target"], [[n, f"another text number {n}", n % 2] for n in range(9)])
    assert prepare(tmp_path / "train.csv", **named).evaluation.height == 9


def test_the_number_of_labels_is_the_one_named(tmp_path):
    for labels in (("a", "b", "c"), ("01", "1", "012"), ('["a"]', '["a", "b"]', '["c"]'), ("[1, 0, 0]", "[0, 1, 1]")):
        path = save(tmp_path / "a.csv", ["text", "label"], rows_of(60, labels))
        key, value = setting_in(remedy_of(partial(prepare, path, 2)))
        assert (key, value) == ("num_labels", 3)
        data = prepare(path, value)
        assert len(data.targets["label_names"]) == 3
        assert data.train.height + data.evaluation.height == 60


def test_many_numbers_are_classes_or_quantities_as_is_said(tmp_path):
    path = save(tmp_path / "a.csv", ["text", "label"], rows_of(200, tuple(range(25))))
    remedy = remedy_of(lambda: prepare(path, 2))
    assert remedy == "set model.num_labels to 25, or to 1 if the labels are quantities to predict (regression)"
    assert len(prepare(path, 25).targets["label_names"]) == 25
    quantities = prepare(path, 1)
    assert (quantities.problem.name, quantities.train["label"].max()) == ("regression", 24.0)
    remedy = remedy_of(lambda: prepare(path, 1, "single_label_classification"))
    assert remedy == (
        "set model.num_labels to 25, or model.problem_type to regression if the labels are quantities to predict "
        "(regression)"
    )
    assert prepare(path, 1, "regression").train["label"].max() == 24.0


def test_regression_has_the_one_output_that_is_named(tmp_path):
    path = save(tmp_path / "a.csv", ["text", "label"], rows_of(40, (0.5, 1.5)))
    key, value = setting_in(remedy_of(lambda: prepare(path, 2, "regression")))
    assert (key, value) == ("num_labels", 1)
    assert sorted(prepare(path, value, "regression").train["label"].unique()) == [0.5, 1.5]


def test_names_where_numbers_were_asked_for_become_classes_step_by_step(tmp_path):
    rows = rows_of(40, ("good", "bad"))
    path = save(tmp_path / "a.csv", ["text", "label"], rows)
    with pytest.raises(DataFileError, match="'good' is no finite number") as caught:
        prepare(path, 1)
    assert caught.value.remedy == "correct it, or set model.problem_type to the task you mean"
    key, value = setting_in(remedy_of(lambda: prepare(path, 1, "single_label_classification")))
    assert (key, value) == ("num_labels", 2)
    assert labels_of(prepare(path, value, "single_label_classification")) == wanted(rows)


def test_rules_are_loosened_as_their_findings_say(tmp_path):
    rows = [*rows_of(40), ["", "no"], ["hm", "yes"], ["x" * 501 + " y", "no"]]
    path = save(tmp_path / "a.csv", ["text", "label"], rows)
    gate, limits = {"max_faulty_share": 1.0}, {"min_text_length": 5, "max_text_length": 500}
    strict = prepare(path, gate=gate, validation_rules=limits)
    fixes = {entry["rule"]: entry["fix"] for entry in strict.report["findings"]}
    assert fixes["empty_text"] == "fill in the text, or set data.validation_rules.allow_empty to true"
    assert fixes["too_short"] == "shorter than data.validation_rules.min_text_length (5)"
    assert fixes["too_long"] == "longer than data.validation_rules.max_text_length (500)"
    rules = {"allow_empty": True, "min_text_length": 2, "max_text_length": 600}
    assert labels_of(prepare(path, validation_rules=rules)) == wanted(rows)


def test_too_few_rows_are_more_after_the_rules_are_loosened(tmp_path):
    rows: Rows = [["a1", "no"], ["b2", "yes"], ["c3", "no"], ["d4", "yes"]]
    path = save(tmp_path / "a.csv", ["text", "label"], rows)
    limit = {"min_text_length": 5}
    remedy = remedy_of(lambda: prepare(path, gate={"max_faulty_share": 1.0}, validation_rules=limit))
    assert remedy == "look at the rows with: ft30 data validate, or loosen data.validation_rules"
    assert labels_of(prepare(path, validation_rules={"min_text_length": 1})) == wanted(rows)


def test_the_limit_that_stops_a_run_is_the_one_to_change(tmp_path):
    rows = [*rows_of(40), ["hm", "yes"]]
    path = save(tmp_path / "a.csv", ["text", "label"], rows)
    limit = {"min_text_length": 5}
    remedy = remedy_of(lambda: prepare(path, validation_rules=limit))
    assert remedy.endswith("or change data.validation_rules.min_text_length, data.gate.max_faulty_share")
    assert labels_of(prepare(path, validation_rules={"min_text_length": 2})) == wanted(rows)
    loose = prepare(path, validation_rules=limit, gate={"max_faulty_share": 0.1})
    assert labels_of(loose) == wanted(rows[:-1])


def test_a_limit_of_length_that_nobody_set_drops_nothing_and_is_set_as_its_finding_says(tmp_path):
    rows = [*rows_of(40), ["hm", "yes"], ["x" * 501 + " y", "no"]]
    path = save(tmp_path / "a.csv", ["text", "label"], rows)
    gate = {"warn_rules": ["too_long"], "max_faulty_share": 1.0}
    data = prepare(path, gate=gate)
    assert labels_of(data) == wanted(rows)
    fixes = {entry["rule"]: entry["fix"] for entry in data.report["findings"] if entry["rule"].startswith("too_")}
    limits = {}
    for rule, found in (("too_short", "shorter than 5 characters"), ("too_long", "longer than 500 characters")):
        said = re.fullmatch(rf"{found}; set data.validation_rules.(\w+) to (\d+) to drop it", fixes[rule])
        assert said is not None
        limits[said[1]] = int(said[2])
    # Only what nobody named otherwise is decided by the limits.
    assert labels_of(prepare(path, gate={"max_faulty_share": 1.0}, validation_rules=limits)) == wanted(rows[:-2])


def test_a_version_is_found_where_a_data_folder_is_known(tmp_path):
    path = save(tmp_path / "a.csv", ["text", "label"], rows_of(40))
    data = prepare(path)
    record_version(data, VersionStore(tmp_path / "store"))
    name = f"version:{data.digest}"
    assert remedy_of(lambda: prepare(name)) == "run through the ft30 command"
    # What the command adds is the data folder.
    config = DataConfig(dataset_name=name, train_samples=None, eval_samples=None)
    again = prepare_data(
        config,
        problem=choose_problem("auto"),
        num_labels=2,
        seed=0,
        log=lambda _: None,
        data_folder=tmp_path / "store",
    )
    assert again.digest == data.digest
