"""Where labels come from: names of each file for its own ids, columns of 0 and 1, and what is said about both."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finetune30.config import DataConfig
from finetune30.config.loading import validate_tree
from finetune30.data.prepare import PreparedData, prepare_data, record_version
from finetune30.data.versions.storage import VersionStore
from finetune30.errors import ConfigError, DataError, DataFileError
from finetune30.problems import choose_problem
from finetune30.problems.of_rows import problem_of_rows

ALL: dict[str, Any] = {"train_samples": None, "eval_samples": None}
JIGSAW = ["id", "comment_text", "toxic", "obscene", "threat"]


def prepare(path: Path, num_labels: int, problem: str = "auto", **data: Any) -> tuple[PreparedData, list[str]]:
    lines: list[str] = []
    config = DataConfig(dataset_name=str(path), **ALL, **data)
    chosen = choose_problem(problem)
    return prepare_data(config, problem=chosen, num_labels=num_labels, seed=0, log=lines.append), lines


def save_classes(path: Path, names: list[str], labels: list[str], start: int = 0) -> None:
    """Write rows as the datasets library does: ids, and the names behind them in the metadata of the file."""
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": names, "_type": "ClassLabel"}}
    texts = [f"this is text number {start + n} of class {name}" for n, name in enumerate(labels)]
    table = pa.table({"text": texts, "label": [names.index(name) for name in labels]})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), path)


def labels_of(rows: pl.DataFrame) -> dict[str, str]:
    return dict(rows.select("text", "label_text").iter_rows())


def save_csv(path: Path, header: list[str], rows: list[list[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, lineterminator="\n").writerows([header, *rows])
    return path


def save_jigsaw(path: Path) -> Path:
    flags = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    return save_csv(path, JIGSAW, [[n, f"this is comment number {n}", *flags[n % 4]] for n in range(40)])


def test_names_of_a_file_belong_to_its_own_ids(tmp_path):
    save_classes(tmp_path / "train.parquet", ["mid", "neg", "pos"], ["mid", "neg", "pos"] * 10)
    save_classes(tmp_path / "validation.parquet", ["neg", "pos"], ["neg", "pos"] * 5, start=100)
    data, lines = prepare(tmp_path, 3)
    assert data.targets["label_names"] == ["mid", "neg", "pos"]
    for text, label in (labels_of(data.train) | labels_of(data.evaluation)).items():
        assert text.endswith(f"of class {label}")
    assert data.report["evaluation"]["label_counts"] == {"mid": 0, "neg": 5, "pos": 5}
    words = "data: classes of validation.parquet matched by their names: it numbers its classes otherwise than"
    assert any(line.startswith(words) for line in lines)


def test_names_of_one_file_are_not_given_to_ids_of_another(tmp_path):
    save_classes(tmp_path / "train.parquet", ["neg", "pos"], ["neg", "pos"] * 10)
    save_csv(tmp_path / "validation.csv", ["text", "label"], [[f"another text {n}", n % 2] for n in range(10)])
    with pytest.raises(DataError, match="10 unknown_label"):
        prepare(tmp_path, 2)


def test_classes_that_only_a_later_training_file_declares_count_too(tmp_path):
    save_classes(tmp_path / "train-00000-of-00002.parquet", ["neg", "pos"], ["neg", "pos"] * 10)
    save_classes(tmp_path / "train-00001-of-00002.parquet", ["mid", "neg"], ["mid", "neg"] * 10, start=100)
    data, _ = prepare(tmp_path, 3)
    assert data.targets["label_names"] == ["neg", "pos", "mid"]
    assert all(text.endswith(f"of class {label}") for text, label in labels_of(data.train).items())


def test_one_column_a_class_is_read_as_lists_of_their_names(tmp_path):
    data, _ = prepare(save_jigsaw(tmp_path / "j.csv"), 3, label_columns=["toxic", "obscene", "threat"])
    assert data.problem.name == "multi_label_classification"
    assert data.targets["label_names"] == ["toxic", "obscene", "threat"]
    rows = labels_of(data.train) | labels_of(data.evaluation)
    wanted = ["[]", '["toxic"]', '["obscene", "toxic"]', '["obscene"]']
    assert rows == {f"this is comment number {n}": wanted[n % 4] for n in range(40)}
    assert data.report["columns"]["text"] == "comment_text"


def test_columns_of_which_one_is_set_in_every_row_are_one_label(tmp_path):
    rows = [[f"this is text number {n}", n % 2, 1 - n % 2] for n in range(40)]
    path = save_csv(tmp_path / "a.csv", ["text", "spam", "ham"], rows)
    data, lines = prepare(path, 2, label_columns=["spam", "ham"])
    assert data.problem.name == "single_label_classification"
    assert data.targets["label_names"] == ["spam", "ham"]
    rows_read = labels_of(data.train) | labels_of(data.evaluation)
    assert rows_read == {f"this is text number {n}": ["ham", "spam"][n % 2] for n in range(40)}
    assert any("each of the 40 labels is a list of one item" in line for line in lines)


def test_rows_without_values_have_no_label_and_other_values_are_refused_at_their_place(tmp_path):
    rows = [[n, f"this is comment number {n}", n % 2, 1, 0] for n in range(40)]
    path = save_csv(tmp_path / "a.csv", JIGSAW, [*rows, [40, "one that nobody judged", "", "", ""]])
    gate = {"max_faulty_share": 1.0}
    named = ["toxic", "obscene", "threat"]
    data, _ = prepare(path, 3, label_columns=named, gate=gate)
    assert data.ledger["totals"]["train"]["dropped"] == {"missing_label": 1}
    save_csv(path, JIGSAW, [*rows, [40, "one that nobody judged", -1, -1, -1]])
    with pytest.raises(DataFileError, match=r"a\.csv:42: the column 'toxic' holds '-1', but label columns") as caught:
        prepare(path, 3, label_columns=named)
    assert caught.value.remedy == "write 0 or 1, or leave the label columns of a row without labels empty"
    with pytest.raises(DataFileError, match="there is no column 'insult'"):
        prepare(path, 3, label_columns=["toxic", "insult"])


def test_label_column_and_label_columns_exclude_each_other():
    for columns, words in ((["a", "b"], "cannot both say"), (["b", "b"], "twice")):
        tree = {"data": {"label_columns": columns, **({"label_column": "c"} if columns == ["a", "b"] else {})}}
        with pytest.raises(ConfigError, match=words):
            validate_tree(tree)


def test_texts_that_are_objects_are_said(tmp_path):
    records = [{"text": {"en": f"text number {n}", "source": "web"}, "label": "ab"[n % 2]} for n in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    data, lines = prepare(tmp_path / "a.jsonl", 2)
    words = "texts of the column 'text' read as they stand: 40 of 40 are JSON objects or lists, not words"
    assert f"data: {words} (to say otherwise, set data.text_column)" in lines
    assert data.report["detected"][-1]["found"] == "texts of the column 'text' read as they stand"


def test_the_report_says_what_was_detected_and_the_log_says_the_same(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        "\n".join(json.dumps({"text": f"text number {n}", "label": ["ab"[n % 2]]}) for n in range(40))
    )
    data, lines = prepare(tmp_path / "a.jsonl", 2)
    assert data.report["detected"][:2] == [
        {
            "found": "the problem is single_label_classification",
            "because": "every row has one label, and the labels are 2 different names",
            "key": "model.problem_type",
        },
        {
            "found": "labels read as one a row",
            "because": "each of the 40 labels is a list of one item",
            "key": "model.problem_type",
        },
    ]
    assert sum("(to say otherwise, set model.problem_type)" in line for line in lines) == 2
    data, lines = prepare(tmp_path / "a.jsonl", 2, "multi_label_classification")
    assert [entry["key"] for entry in data.report["detected"]] == ["data.text_column", "data.label_column"]
    assert "data: the problem is multi_label_classification" in lines


def test_vectors_train_as_many_classes_as_they_have_places_even_those_without_rows(tmp_path):
    rows = [{"text": f"text number {n}", "labels": [n % 2, 1 - n % 2, 0]} for n in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data, _ = prepare(tmp_path / "a.jsonl", 3)
    assert data.targets["label_names"] == ["0", "1", "2"]
    hot = dict(pl.concat([data.train, data.evaluation]).select("text", "label").iter_rows())
    assert hot == {row["text"]: row["labels"] for row in rows}


@pytest.mark.parametrize(
    ("labels", "names"),
    [([["a"], ["b"]], ["a", "b"]), ([[1, 0, 0], [0, 1, 0]], ["0", "1", "2"]), ([["a", "b"], []], ["a", "b"])],
)
def test_a_version_of_lists_is_read_as_it_was_stored_whatever_the_lists_would_tell(tmp_path, labels, names):
    rows = [{"text": f"text number {n}", "labels": labels[n % 2]} for n in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data, _ = prepare(tmp_path / "a.jsonl", len(names), "multi_label_classification")
    record_version(data, VersionStore(tmp_path / "store"))
    config = DataConfig(dataset_name=f"version:{data.digest}", **ALL)
    again = prepare_data(
        config,
        problem=problem_of_rows("auto", config.dataset_name, tmp_path / "store"),
        num_labels=len(names),
        seed=0,
        log=lambda _: None,
        data_folder=tmp_path / "store",
    )
    assert (again.problem.name, again.targets["label_names"]) == ("multi_label_classification", names)
    assert again.digest == data.digest
