"""Columns that say which rows belong together: numbers, splits, files that lack them, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from finetune30.config.data import DataConfig
from finetune30.config.loading import load_config
from finetune30.data.groups import keep_together, require_several
from finetune30.data.prepare import PreparedData, prepare_data, record_version
from finetune30.data.versions.checkout import checkout_version
from finetune30.data.versions.manifest import WITH_GROUPS_FORMAT
from finetune30.data.versions.schema import Column, Schema
from finetune30.data.versions.storage import VersionStore
from finetune30.errors import DataError, DataFileError, UsageError
from finetune30.problems import choose_problem
from finetune30.service.sets.making import _with_groups

HEADER = ("text", "label", "writer")


def save(path: Path, writers: list[str], first: int = 0, header: tuple[str, ...] = HEADER) -> Path:
    rows = [(f"this is text {first + n}", "no" if n % 2 else "yes", who) for n, who in enumerate(writers)]
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *(row[: len(header)] for row in rows)])
    return path


def prepare(source: Path | str, log: list[str] | None = None, folder: Path | None = None, **data: Any) -> PreparedData:
    told: list[str] = [] if log is None else log
    config = DataConfig(dataset_name=str(source), **data)
    problem = choose_problem("auto")
    return prepare_data(config, problem=problem, num_labels=2, seed=3, log=told.append, data_folder=folder)


def test_a_group_is_on_one_side_by_number_and_a_checkout_gives_the_same_version(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", [f"w{n // 5}" for n in range(100)])
    data = prepare(path, group_column="writer", eval_fraction=0.3)
    assert not set(data.train["group"]) & set(data.evaluation["group"])
    assert pl.concat([data.train, data.evaluation])["group"].unique().sort().to_list() == list(range(20))
    store = VersionStore(tmp_path / "store")
    manifest = record_version(data, store)
    assert (manifest.format, manifest.digest) == (WITH_GROUPS_FORMAT, data.digest)
    again = prepare(f"version:{manifest.digest}", folder=tmp_path / "store")
    assert again.digest == data.digest
    checkout_version(store, manifest.digest, tmp_path / "files")
    assert prepare(tmp_path / "files", group_column="group").digest == data.digest
    plain = prepare(path, eval_fraction=0.3)
    assert "group" not in plain.train.columns
    assert plain.schema.group is None


def test_groups_are_kept_apart_by_hand(tmp_path: Path) -> None:
    keys = pl.Series(["a", "a", "b", "c", "d"])
    rows = pl.DataFrame({"group": [0, 1, 1, 2, 3]})
    found = keep_together(keys, rows).to_list()
    assert found[0] == found[1] == found[2], "text a joins the groups 0 and 1"
    assert len(set(found)) == 3
    assert keep_together(keys, pl.DataFrame({"row_id": list("abcde")})) is keys


def test_an_evaluation_file_without_the_column_is_warned_of_and_one_that_shares_groups_counted(tmp_path: Path) -> None:
    train = save(tmp_path / "a.csv", [f"w{n // 5}" for n in range(40)])
    without = save(tmp_path / "b.csv", ["x"] * 10, 100, HEADER[:2])
    log: list[str] = []
    data = prepare(train, log, group_column="writer", eval_file=str(without))
    assert any(line.startswith("WARNING") and "no column 'writer'" in line for line in log)
    assert data.evaluation["group"].n_unique() == 10
    assert data.report["groups"] == {"column": "writer", "groups": 18, "largest": 5, "without": 10}

    shared = save(tmp_path / "c.csv", ["w1", "w2", "z"], 200)
    counted = prepare(train, group_column="writer", eval_file=str(shared))
    (found,) = [one for one in counted.report["findings_summary"] if one["rule"] == "group_leakage"]
    assert (found["count"], found["severity"], counted.train.height) == (10, "warn", 40)
    gate = {"error_rules": ["group_leakage"], "max_leaking_share": 0.5}
    strict = prepare(train, group_column="writer", eval_file=str(shared), gate=gate)
    assert strict.train.height == 30
    gate = {"error_rules": ["group_leakage"]}
    with pytest.raises(DataError, match="10 group_leakage"):
        prepare(train, group_column="writer", eval_file=str(shared), gate=gate)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", ["one"] * 20)
    with pytest.raises(DataError, match="all 20 rows are of one group: no evaluation rows can be split off") as caught:
        prepare(path, group_column="writer")
    assert caught.value.remedy == "name a column whose values differ, or give these rows in a file of their own"
    varied = save(tmp_path / "b.csv", [f"w{n // 5}" for n in range(20)])
    assert prepare(varied, group_column="writer").evaluation.height, "a column whose values differ can be split"
    apart = save(tmp_path / "c.csv", ["other"] * 6, 50)
    assert prepare(path, group_column="writer", eval_file=str(apart)).train.height == 20, "so can rows in two files"
    with pytest.raises(DataFileError, match="there is no column 'writr'") as wrong:
        prepare(varied, group_column="writr")
    assert wrong.value.remedy == "set data.group_column to 'writer'"
    assert prepare(varied, group_column="writer").train.height
    with pytest.raises(ValueError, match="group_column 'label' is read as text or label"):
        DataConfig(dataset_name="a.csv", label_column="label", group_column="label")
    columns = (Column("a", pl.String(), "text"), *(Column(name, pl.Int64(), "group") for name in "bc"))
    with pytest.raises(DataError, match="two columns of a version say which rows belong together"):
        Schema(columns)
    require_several(pl.Series(["a"]), pl.DataFrame({"group": [1]}), "evaluation")


def test_the_column_of_a_set_is_that_of_its_configuration() -> None:
    loaded = load_config(None, {"data.dataset_name": "a.csv"})
    assert _with_groups(loaded, None) is loaded
    named = _with_groups(loaded, "writer")
    assert named.config.data.group_column == "writer"
    assert _with_groups(named, "writer") is named
    with pytest.raises(UsageError, match="group_column is 'other', and "):
        _with_groups(named, "other")
