"""From a configuration to rows: columns, labels, rules, splits, samples and the ledger."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune30.config.data import DataConfig
from finetune30.data.ledger import reconcile
from finetune30.data.prepare import prepare_data
from finetune30.errors import DataError, DataFileError, HubUnavailableError
from finetune30.problems import choose_problem

ALL: dict[str, Any] = {"train_samples": None, "eval_samples": None}
#: Lets any share of faulty rows pass, for files that are faulty on purpose.
OPEN_GATE: dict[str, Any] = {
    "gate": {"max_faulty_share": 1.0, "max_contradictory_share": 1.0, "max_leaking_share": 1.0}
}


def write_csv(path: Path, header: list[str], rows: list) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerows([header, *rows])
    return path


def prepare(path: Path | str, num_labels: int = 2, problem_type: str = "auto", seed: int = 0, **data):
    config = DataConfig(dataset_name=str(path), **data)
    return prepare_data(
        config, problem=choose_problem(problem_type), num_labels=num_labels, seed=seed, log=lambda message: None
    )


def rows_of(count: int, labels: tuple[str, ...] = ("no", "yes")) -> list[list[str]]:
    return [[f"this is text number {index}", labels[index % len(labels)]] for index in range(count)]


def test_text_labels_become_ids_in_sorted_order(tmp_path):
    data = prepare(write_csv(tmp_path / "a.csv", ["text", "label"], rows_of(40)), **ALL)
    assert data.targets["label_names"] == ["no", "yes"]
    assert data.problem.name == "single_label_classification"
    joined = pl.concat([data.train, data.evaluation]).sort("text")
    assert all(label == int(text.split()[-1]) % 2 for text, label in joined.select("text", "label").iter_rows())


def test_numeric_labels_are_ordered_by_value(tmp_path):
    path = write_csv(tmp_path / "a.csv", ["text", "label"], rows_of(60, ("10", "9", " 2")))
    assert prepare(path, 3, **ALL).targets["label_names"] == ["2", "9", "10"]


def test_split_keeps_identical_texts_on_one_side_and_is_stratified(tmp_path):
    rows = [row for row in rows_of(300) for _ in range(2)]
    data = prepare(write_csv(tmp_path / "a.csv", ["text", "label"], rows), eval_fraction=0.2, **ALL)
    assert not set(data.train["text"]) & set(data.evaluation["text"])
    assert data.report["evaluation"]["label_counts"] == {"no": 60, "yes": 60}
    entry = data.ledger["files"][0]
    assert (entry["input"], entry["used"], entry["moved_to_evaluation"]) == (600, 480, 120)


def test_same_seed_same_rows_other_seed_other_rows(tmp_path):
    path = write_csv(tmp_path / "a.csv", ["text", "label"], rows_of(200))
    first, again, other = (prepare(path, seed=seed, train_samples=50, eval_samples=10) for seed in (1, 1, 2))
    assert first.digest == again.digest != other.digest
    assert first.train.equals(again.train)


def test_sample_keeps_the_share_of_every_class(tmp_path):
    rows = [[f"text number {index}", "rare" if index % 10 == 0 else "often"] for index in range(1000)]
    path = write_csv(tmp_path / "train.csv", ["text", "label"], rows)
    data = prepare(path, train_samples=100, eval_samples=10, eval_fraction=0.1)
    assert data.report["label_counts"] == {"often": 90, "rare": 10}


def test_rules_drop_rows_for_one_reason_each_and_the_ledger_adds_up(tmp_path):
    rows = [*rows_of(20), ["", "no"], ["  ", "yes"], ["hi", "no"], ["x" * 501, "no"], ["no label here", ""]]
    limits = {"min_text_length": 5, "max_text_length": 500}
    path = write_csv(tmp_path / "a.csv", ["text", "label"], rows)
    data = prepare(path, validation_rules=limits, **ALL, **OPEN_GATE)
    total = data.ledger["totals"]["train"]
    assert total["dropped"] == {"empty_text": 2, "missing_label": 1, "too_long": 1, "too_short": 1}
    assert total["input"] == 25
    found = {(finding["row_id"], finding["rule"]) for finding in data.report["findings"]}
    assert {place for place in found if place[1] != "near_duplicate"} == {
        ("a.csv:22", "empty_text"),
        ("a.csv:23", "empty_text"),
        ("a.csv:24", "too_short"),
        ("a.csv:25", "too_long"),
        ("a.csv:26", "missing_label"),
    }


def test_html_is_removed_and_reported(tmp_path):
    rows = [*rows_of(20), ["A <b>bold</b> claim<br/>indeed &amp; truly", "no"], ["keep 1 <2 and 3> 2", "no"]]
    data = prepare(write_csv(tmp_path / "a.csv", ["text", "label"], rows), **ALL)
    texts = set(data.train["text"]) | set(data.evaluation["text"])
    assert {"A bold claim indeed & truly", "keep 1 <2 and 3> 2"} <= texts
    assert [row for row in data.report["findings_summary"] if row["rule"] == "html"] == [
        {"rule": "html", "severity": "fix", "split": "train", "count": 1}
    ]


def test_label_count_other_than_num_labels_names_both_numbers_and_the_key(tmp_path):
    path = write_csv(tmp_path / "a.csv", ["text", "label"], rows_of(30, ("a", "b", "c")))
    with pytest.raises(DataError, match=r"3 labels \('a', 'b', 'c'\) but model\.num_labels is 2") as caught:
        prepare(path, 2)
    assert caught.value.remedy == "set model.num_labels to 3"


def test_numbers_read_as_classes_name_the_way_to_regression(tmp_path: Path) -> None:
    rows = [[f"text number {index}", str(index / 10)] for index in range(50)]
    path = write_csv(tmp_path / "a.csv", ["text", "score"], rows)
    for outputs, way in ((2, "or to 1 if"), (1, "or model.problem_type to regression if")):
        with pytest.raises(DataError, match=rf"but model\.num_labels is {outputs}") as caught:
            prepare(path, outputs, problem_type="single_label_classification", **ALL)
        assert way in caught.value.remedy


def test_evaluation_label_unknown_to_training_is_refused_with_its_place(tmp_path):
    write_csv(tmp_path / "train.csv", ["text", "label"], rows_of(10))
    write_csv(tmp_path / "dev.csv", ["text", "label"], [["fine text", "no"], ["odd text", "maybe"]])
    with pytest.raises(DataError, match=r"50\.0%, allowed 1\.0%: 1 unknown_label\), for example dev\.csv:3:10 'maybe'"):
        prepare(tmp_path)


def test_regression_takes_numbers_and_refuses_words(tmp_path):
    rows = [[f"text number {index}", str(index / 10)] for index in range(50)]
    data = prepare(write_csv(tmp_path / "a.csv", ["text", "score"], rows), 1, **ALL)
    assert (data.problem.name, data.targets, data.train["label"].dtype) == ("regression", {}, pl.Float64)
    with pytest.raises(DataFileError, match=r"b\.csv:2: the label 'good' is no finite number"):
        prepare(write_csv(tmp_path / "b.csv", ["text", "score"], [["a text here", "good"], *rows]), 1)


@pytest.mark.parametrize(
    ("labels", "num_labels", "kept"),
    [((0.25, 1.5), 1, {0.25, 1.5}), ((0.0, 1.0), 2, {0, 1})],
    ids=["regression", "classes"],
)
def test_nan_among_numbers_is_a_missing_label(tmp_path, labels, num_labels, kept):
    rows = [{"text": f"this is text number {n}", "label": labels[n % 2]} for n in range(40)]
    rows[7]["label"] = float("nan")
    pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    data = prepare(tmp_path / "a.parquet", num_labels=num_labels, **ALL, **OPEN_GATE)
    assert set(data.train["label"]) | set(data.evaluation["label"]) == kept
    assert data.train.height + data.evaluation.height == 39
    assert data.ledger["totals"]["train"]["dropped"] == {"missing_label": 1}


def test_multi_label_from_separator_and_from_json_lists(tmp_path):
    cells = ["news|sport", "sport", "art|news", "news"] * 10
    path = write_csv(tmp_path / "a.csv", ["text", "tags"], [[f"text number {i}", c] for i, c in enumerate(cells)])
    data = prepare(path, 3, label_separator="|", **ALL)
    lines = [json.dumps({"text": f"text number {i}", "tags": c.split("|")}) for i, c in enumerate(cells)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    other = prepare(tmp_path / "a.jsonl", 3, **ALL)
    assert data.targets == other.targets == {"label_names": ["art", "news", "sport"]}
    assert data.train["label"].to_list()[:2] == [[0, 1, 1], [0, 0, 1]]
    assert data.digest == other.digest


def test_pair_columns_are_detected(tmp_path):
    rows = [[f"premise {index}", f"hypothesis {index}", index % 2] for index in range(20)]
    data = prepare(write_csv(tmp_path / "a.csv", ["premise", "hypothesis", "label"], rows), **ALL)
    assert data.source["columns"] == {"text": "premise", "text_pair": "hypothesis", "label": "label"}
    assert data.train["text_pair"].null_count() == 0


def test_missing_column_lists_those_that_exist_and_the_nearest(tmp_path):
    path = write_csv(tmp_path / "a.csv", [" sentence ", "label"], rows_of(4))
    with pytest.raises(DataFileError, match=r"no column 'sentense'; the columns are 'sentence', 'label'") as caught:
        prepare(path, text_column="sentense")
    assert caught.value.remedy == "set data.text_column to 'sentence'"


def test_first_row_taken_for_the_header_is_noticed(tmp_path):
    first, *others = rows_of(20)
    path = write_csv(tmp_path / "a.csv", first, others)
    with pytest.raises(
        DataFileError, match=r"a\.csv:1: the first line looks like a row of data: 'no' is also the label"
    ):
        prepare(path, **ALL)
    assert prepare(path, label_column="no", **ALL).ledger["totals"]["train"]["input"] == 19


def test_header_that_stands_in_the_rows_again_is_a_fault_of_that_row_only(tmp_path):
    path = write_csv(tmp_path / "a.csv", ["phrase", "mood"], [*rows_of(200), ["phrase", "mood"]])
    data = prepare(path, **ALL)
    assert data.quarantine["reason"].to_list() == ["repeated_header"]


def test_evaluation_file_is_used_as_named(tmp_path):
    train = write_csv(tmp_path / "a.csv", ["text", "label"], rows_of(10))
    other = tmp_path / "other"
    other.mkdir()
    evaluation = write_csv(other / "a.csv", ["text", "label"], [["quite another", "no"], ["and yet another", "yes"]])
    data = prepare(train, eval_file=str(evaluation))
    assert data.evaluation["row_id"][0] == "other/a.csv:2"
    assert data.ledger["totals"]["evaluation"]["used"] == 2


def test_nothing_left_after_the_rules_says_why(tmp_path):
    path = write_csv(tmp_path / "a.csv", ["text", "label"], [["a", "0"], ["b", "1"], ["", "1"]])
    with pytest.raises(DataError):
        prepare(path)


def test_hub_set_without_hub_and_cache_is_unavailable(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubUnavailableError, match="HF_HUB_OFFLINE is set") as caught:
        prepare("some-owner/never-cached-set")
    assert "starter" in caught.value.remedy


@pytest.mark.parametrize(("name", "train", "evaluation"), [("starter", 864, 216), ("starter-zh", 264, 66)])
def test_starter_is_balanced_deduplicated_and_disjoint(name, train, evaluation):
    data = prepare(name, **ALL)
    assert (data.train.height, data.evaluation.height) == (train, evaluation)
    texts = pl.concat([data.train, data.evaluation])["text"].str.to_lowercase()
    assert texts.n_unique() == train + evaluation
    assert data.report["imbalance_ratio"] == 1.0
    assert [row for row in data.report["findings_summary"] if row["severity"] != "warn"] == []


def test_reconcile_adds_truncated_rows_and_refuses_other_counts():
    data = prepare("starter", **ALL)
    ids = data.train["row_id"].to_list()[:3]
    ledger = reconcile(data.ledger, 864, 216, {"train": ids, "evaluation": []})
    assert ledger["totals"]["train"]["truncated"] == 3
    with pytest.raises(DataError, match="ledger says 864 train rows are used, the trainer consumed 863"):
        reconcile(data.ledger, 863, 216, {})


texts = st.sampled_from(["", " ", "hi", "a fine text", "another <b>fine</b> text", "x" * 600]) | st.text(max_size=20)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(texts, st.sampled_from(["a", "b", ""])), max_size=60),
    samples=st.integers(2, 40),
    seed=st.integers(0, 100),
)
def test_ledger_always_adds_up(rows, samples, seed, tmp_path_factory):
    rows = [*([f"text number {index}", "ab"[index % 2]] for index in range(8)), *rows]
    rows = [[re.sub(r"[\r\x00]|[\ud800-\udfff]", "?", text), label] for text, label in rows]
    path = write_csv(tmp_path_factory.mktemp("ledger") / "a.csv", ["text", "label"], rows)
    data = prepare(path, seed=seed, train_samples=samples, eval_samples=3, **OPEN_GATE)
    train, evaluation = data.ledger["totals"]["train"], data.ledger["totals"]["evaluation"]
    used = train["used"] + evaluation["used"]
    assert train["input"] == len(rows)
    assert train["input"] == used + sum(train["dropped"].values()) + sum(evaluation["dropped"].values())
    assert (train["used"], evaluation["used"]) == (data.train.height, data.evaluation.height)
    assert pl.concat([data.train, data.evaluation])["row_id"].n_unique() == used
