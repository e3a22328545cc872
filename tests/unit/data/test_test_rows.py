"""Test rows: set aside before anything else is chosen, part of the version, in files that training never opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from finetune30.config import DataConfig
from finetune30.config.loading import validate_tree
from finetune30.data.prepare import PreparedData, prepare_data, record_version
from finetune30.data.sources import files
from finetune30.data.sources.folders import load_folder
from finetune30.data.versions.checkout import checkout_version
from finetune30.data.versions.held_back import TEST
from finetune30.data.versions.storage import VersionStore
from finetune30.errors import ConfigError, DataError
from finetune30.problems import choose_problem


def write_rows(path: Path, count: int, prefix: str = "text") -> Path:
    """Every text stands in two rows of one label."""
    texts = [f"{prefix} number {number // 2} about a thing" for number in range(count)]
    labels = [("good", "bad")[number // 2 % 2] for number in range(count)]
    pl.DataFrame({"text": texts, "label": labels}).write_csv(path)
    return path


def prepare(folder: Path, seed: int = 7, **data: Any) -> PreparedData:
    return prepare_data(
        DataConfig.model_validate(data),
        problem=choose_problem("auto"),
        num_labels=2,
        seed=seed,
        log=lambda _: None,
        data_folder=folder / "store",
    )


def test_a_share_is_set_aside_before_evaluation_rows_are_split_off(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.csv", 400)
    data = prepare(tmp_path, dataset_name=str(file), test_fraction=0.2, eval_fraction=0.25)
    assert data.held_back is not None
    assert data.held_back.rows is not None
    assert (data.held_back.count, data.evaluation.height, data.train.height) == (80, 80, 240)
    test, rest = set(data.held_back.rows["text"]), {*data.train["text"], *data.evaluation["text"]}
    assert not test & rest, "rows of one text stay on one side"
    assert data.held_back.rows["label"].value_counts().sort("label")["count"].to_list() == [40, 40], "stratified"
    assert data.ledger["totals"]["train"]["dropped"] == {"set_aside_as_test": 80}
    assert data.ledger["totals"]["train"]["input"] == 400
    assert data.report["test"] == {"total_samples": 80}
    again = prepare(tmp_path, dataset_name=str(file), test_fraction=0.2, eval_fraction=0.25)
    assert again.digest == data.digest
    assert prepare(tmp_path, 8, dataset_name=str(file), test_fraction=0.2, eval_fraction=0.25).digest != data.digest


def test_rows_of_an_evaluation_file_are_no_test_rows(tmp_path: Path) -> None:
    file, other = write_rows(tmp_path / "rows.csv", 100), write_rows(tmp_path / "eval.csv", 40, "other")
    data = prepare(tmp_path, dataset_name=str(file), eval_file=str(other), test_fraction=0.2)
    assert (data.train.height, data.evaluation.height) == (80, 40)


def test_a_version_keeps_test_rows_and_a_training_on_it_leaves_them_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_rows(tmp_path / "rows.csv", 200)
    data = prepare(tmp_path, dataset_name=str(file), test_fraction=0.2)
    store = VersionStore(tmp_path / "store")
    manifest = record_version(data, store)
    assert manifest.digest == data.digest
    assert (manifest.rows[TEST], manifest.format) == (40, 3)
    assert store.verify(manifest.digest) == []
    for chunk in manifest.chunks[TEST]:  # whoever opens one of these fails
        store._chunk_path(chunk.digest).rename(tmp_path / chunk.digest)
    again = prepare(tmp_path, dataset_name=f"version:{manifest.digest}")
    assert again.digest == manifest.digest, "the version that is trained on is the one that is recorded"
    assert record_version(again, store).rows == manifest.rows
    with pytest.raises(DataError, match=r"has 40 test rows of its own") as refused:
        prepare(tmp_path, dataset_name=f"version:{manifest.digest}", test_fraction=0.1)
    assert refused.value.remedy == "leave data.test_fraction out"
    for chunk in manifest.chunks[TEST]:
        (tmp_path / chunk.digest).rename(store._chunk_path(chunk.digest))
    paths = checkout_version(store, manifest.digest, tmp_path / "out")
    assert [path.name for path in paths] == ["train.csv", "validation.csv", "test.csv"]


def test_test_rows_that_were_changed_are_found(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.csv", 200)
    store = VersionStore(tmp_path / "store")
    manifest = record_version(prepare(tmp_path, dataset_name=str(file), test_fraction=0.2), store)
    (chunk,) = manifest.chunks[TEST]
    path = store._chunk_path(chunk.digest)
    pl.read_parquet(path).with_columns(pl.lit("good").alias("label")).write_parquet(path)
    assert store.verify(manifest.digest) == [f"test: piece {chunk.digest[:12]} holds other rows than it did"]


def test_a_test_file_is_not_opened_and_a_test_split_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    for split, count in (("train", 80), ("test", 20)):
        write_rows(tmp_path / f"{split}.csv", count, split)
    load = files.load_file

    def watch(path: Path, *rest: Any) -> Any:
        opened.append(path.name)
        return load(path, *rest)

    from finetune30.data.sources import folders, resolve

    monkeypatch.setattr(folders, "load_file", watch)
    monkeypatch.setattr(resolve, "load_file", watch)
    data = prepare(tmp_path, dataset_name=str(tmp_path), test_split="test")
    assert opened == ["train.csv"]
    assert (data.evaluation.height, sorted(data.source["splits"])) == (8, ["test", "train"])
    assert load_folder(tmp_path, unread="test")["test"] == []
    opened.clear()
    prepare(tmp_path, dataset_name=str(tmp_path / "train.csv"), test_file=str(tmp_path / "test.csv"))
    assert opened == ["train.csv"]
    with pytest.raises(DataError, match="test_file is not there"):
        prepare(tmp_path, dataset_name=str(tmp_path / "train.csv"), test_file=str(tmp_path / "nowhere.csv"))


def test_evaluating_on_a_test_split_is_said(tmp_path: Path) -> None:
    for split, count in (("train", 80), ("test", 20)):
        write_rows(tmp_path / f"{split}.csv", count, split)
    (found,) = [
        entry
        for entry in prepare(tmp_path, dataset_name=str(tmp_path)).report["detected"]
        if entry["key"] == "data.test_split"
    ]
    assert found["found"] == "the evaluation rows are the split 'test'"
    write_rows(tmp_path / "validation.csv", 20, "validation")
    said = prepare(tmp_path, dataset_name=str(tmp_path)).report["detected"]
    assert all(entry["key"] != "data.test_split" for entry in said)


def test_a_test_split_without_labels_is_not_evaluated_on(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.csv", 80)
    pl.DataFrame({"text": ["no label here", "nor here"]}).write_csv(tmp_path / "test.csv")
    data = prepare(tmp_path, dataset_name=str(tmp_path))
    assert (data.evaluation.height, data.source["eval_split"], data.source["splits"]) == (8, None, ["test", "train"])
    assert all(entry["key"] != "data.test_split" for entry in data.report["detected"])


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.csv", 20)
    with pytest.raises(DataError, match=r"has no split 'exam'; it has train") as refused:
        prepare(tmp_path, dataset_name=str(tmp_path), test_split="exam")
    assert refused.value.remedy == "set data.test_split to one of them"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"test_split": "test", "test_fraction": 0.1}, "test_split and test_fraction cannot both say"),
        ({"test_split": "test", "eval_split": "test"}, "test_split 'test' is trained or evaluated on"),
        ({"test_split": "train"}, "test_split 'train' is trained or evaluated on"),
        ({"test_file": "a.csv", "eval_file": "a.csv"}, "test_file is eval_file"),
    ],
)
def test_contradictions_are_refused(data: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        validate_tree({"data": data})
