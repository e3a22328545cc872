"""Folders of competitions, of the `datasets` library and of cloned repositories."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from finetune30.config.data import DataConfig
from finetune30.data.loading import load_rows
from finetune30.data.sources.folders import load_folder
from finetune30.data.sources.resolve import load_sources
from finetune30.errors import DataError
from finetune30.problems import choose_problem

FEATURES = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})


def build_set(*texts: str) -> Dataset:
    return Dataset.from_dict({"text": list(texts), "label": [index % 2 for index in range(len(texts))]}, FEATURES)


def test_test_file_of_a_competition_is_left_out_for_it_has_no_labels(tmp_path: Path) -> None:
    rows = "".join(f"{number},the film number {number} was fine,{number % 2}\n" for number in range(40))
    (tmp_path / "train.csv").write_text(f"id,text,target\n{rows}")
    (tmp_path / "test.csv").write_text("id,text\n41,the plot was fine\n")
    (tmp_path / "sample_submission.csv").write_text("id,target\n41,0\n")
    log: list[str] = []
    loaded = load_rows(DataConfig(dataset_name=str(tmp_path)), log.append, problem=choose_problem("auto"))
    assert loaded.rows["file"].unique().to_list() == ["train.csv"]
    assert loaded.rows.height == 40
    assert "data: test.csv: has no column 'target', which the training file has" in log
    assert any("has no labels; evaluation rows are split off" in line for line in log)


def test_test_file_with_other_columns_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,1\n")
    (tmp_path / "test.csv").write_text("sentence,label\nb,0\n")
    assert load_folder(tmp_path)["test"][0].columns == ["sentence", "label"]


def test_folder_of_save_to_disk_is_read_with_the_names_of_its_classes(tmp_path: Path) -> None:
    DatasetDict({"train": build_set("bad", "good"), "test": build_set("awful")}).save_to_disk(tmp_path / "mine")
    splits = load_folder(tmp_path / "mine")
    assert {split: [table.name for table in tables] for split, tables in splits.items()} == {
        "train": ["mine/train"],
        "test": ["mine/test"],
    }
    [train] = splits["train"]
    assert train.frame["text"].to_list() == ["bad", "good"]
    assert train.label_names == {"label": ("neg", "pos")}
    assert train.notes == ("rows read: 2, as many as its files count themselves (train/data-00000-of-00001.arrow 2)",)
    build_set("bad", "good").save_to_disk(tmp_path / "one")
    assert load_folder(tmp_path / "one")["train"][0].frame["label"].to_list() == ["0", "1"]


def test_broken_folder_of_save_to_disk_is_named(tmp_path: Path) -> None:
    DatasetDict({"train": build_set("bad", "good")}).save_to_disk(tmp_path / "mine")
    for file in (tmp_path / "mine" / "train").glob("*.arrow"):
        file.write_bytes(b"cut")
    with pytest.raises(DataError, match="the data set in the folder 'mine' cannot be read"):
        load_folder(tmp_path / "mine")


def test_cloned_repository_is_read_from_its_data_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("# My set\n")
    build_set("bad", "good").to_parquet(tmp_path / "data" / "train-00000-of-00001-1a2b3c4d5e6f.parquet")
    build_set("awful").to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    splits = load_folder(tmp_path)
    assert splits["train"][0].label_names == {"label": ("neg", "pos")}
    assert splits["test"][0].frame["text"].to_list() == ["awful"]


def test_cloned_repository_is_read_as_its_card_says(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    (folder / "files").mkdir(parents=True)
    card = "---\nconfigs:\n- config_name: short\n  data_files:\n  - split: train\n    path: files/a.csv\n"
    card += "  - split: test\n    path: files/b.csv\n- config_name: long\n  data_files: files/c.csv\n---\n# Films\n"
    (folder / "README.md").write_text(card)
    for name in "abc":
        (folder / "files" / f"{name}.csv").write_text(f"text,label\n{name},1\n")
    config = DataConfig(dataset_name=str(folder), dataset_config="short")
    loaded = load_sources(config, lambda _: None)
    assert [table.name for table in loaded.tables] == ["films/train", "films/test"]
    assert loaded.train[0].frame["text"].to_list() == ["a"]
    with pytest.raises(DataError, match="long"):
        load_folder(folder)


def test_rows_of_a_repository_are_counted_in_its_files_as_well(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: '*.csv'\n"
        "dataset_info:\n  splits:\n  - name: train\n    num_examples: 9\n    num_bytes: 5\n---\n"
    )
    (tmp_path / "a.csv").write_text('text,label\n"one\ntwo",1\n\nthree,0\n')
    (tmp_path / "b.csv").write_text("text,label\nfour,1\n")
    splits = load_folder(tmp_path)
    assert splits["train"][0].frame.height == 3
    assert splits["train"][0].notes == (
        "the card says 9 rows for train, the files hold 3",
        "lines of a.csv, b.csv: 7; of them rows: 3, blank: 1, headers and lines inside of quoted cells: 3",
        "blank lines in a.csv: 1 (4)",
    )
