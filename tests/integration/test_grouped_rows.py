"""Rows of one writer: on one side of every split, kept as numbers in versions and predictions, compared by group."""

from __future__ import annotations

import csv
import json
from typing import Any

import polars as pl
import pytest
import yaml

from finetune30.data.versions.storage import VersionStore
from support.fork_server import ForkServer
from support.kinds import SINGLE_LABEL, KindsLab

pytestmark = pytest.mark.integration

GROUPED = {"dataset_name": "writers.csv", "eval_file": None, "group_column": "writer", "split_seed": 3}
ENDINGS = ("today", "so far", "by night", "at last")


@pytest.fixture(scope="module")
def lab(fork_server: ForkServer, tiny_model: Any, tmp_path_factory: pytest.TempPathFactory) -> KindsLab:
    """Rows of 60 writers, four of each but for one row that names none, and two runs: one that learnt, one not."""
    made = KindsLab.make(fork_server, tmp_path_factory.mktemp("grouped"), tiny_model())
    rows = [
        (f"{text} {ending}", label, f"writer {number:02}")
        for number, (text, label) in enumerate(SINGLE_LABEL.rows())
        for ending in ENDINGS
    ]
    rows[5] = (*rows[5][:2], " ")
    with (made.folder / "writers.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("text", "label", "writer"), *rows])
    kept = {**GROUPED, "eval_fraction": 0.4, "test_fraction": 0.3}
    made.train(SINGLE_LABEL, "learnt", kept, num_train_epochs=6)
    made.train(SINGLE_LABEL, "barely", kept, max_steps=1)
    return made


def writers_of(lab: KindsLab) -> dict[str, str]:
    """Return who wrote each text; the row that does not say stands for itself."""
    with (lab.folder / "writers.csv").open(encoding="utf-8", newline="") as stream:
        return {row["text"]: row["writer"].strip() or row["text"] for row in csv.DictReader(stream)}


def test_no_writer_is_on_two_sides_and_a_version_keeps_numbers_not_names(lab: KindsLab) -> None:
    folder, store = lab.run_folder("learnt"), VersionStore(lab.folder / "data_store")
    manifest = store.get(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["dataset_digest"])
    assert (manifest.format, manifest.schema.group, store.verify(manifest.digest)) == (4, "group", [])
    assert "writer" not in json.dumps(manifest.as_dict()["schema"])
    wrote = writers_of(lab)
    number_of: dict[str, int] = {}
    seen: set[int] = set()
    for split in ("train", "evaluation", "test"):
        rows = store.load_rows(manifest, split)
        for text, number in rows.select("text", "group").iter_rows():
            assert number_of.setdefault(wrote[text], number) == number
        assert not seen & set(rows["group"])
        seen |= set(rows["group"])
    assert sorted(number_of.values()) == list(range(61)), "a number for each, the row of nobody for itself"
    report = json.loads((folder / "data_report.json").read_text(encoding="utf-8"))
    assert report["groups"] == {"column": "writer", "groups": 61, "largest": 4, "without": 1}
    assert "1 row without a group, each taken for one of its own" in (folder / "logs.txt").read_text(encoding="utf-8")
    kept = pl.read_parquet(folder / "predictions.parquet")
    evaluation = store.load_rows(manifest, "evaluation")
    assert kept.select("row_id", "group").rows() == evaluation.select("origin", "group").rows()


def test_runs_are_compared_by_group_on_evaluation_and_on_test_rows(lab: KindsLab) -> None:
    found = json.loads(lab.ft30("compare", "barely", "learnt", "--json").stdout)
    (pair,) = found["pairs"]
    kept = [pl.read_parquet(lab.run_folder(name) / "predictions.parquet") for name in ("barely", "learnt")]
    gained = pl.DataFrame(
        {"group": kept[0]["group"], "gain": kept[1]["outcome"].cast(int) - kept[0]["outcome"].cast(int)}
    )
    sums = gained.group_by("group").sum()
    assert pair["groups"] == found["groups"][0]["groups"] == sums.height >= 15
    assert f"by group, {sums.height} groups" in pair["message"]
    assert pair["distinguishable"]
    assert pair["difference"] == pytest.approx(sums["gain"].sum() / kept[0].height)
    assert "signs of groups" in pair["method"]

    looked = json.loads(lab.ft30("test", "barely", "learnt", "--json").stdout)
    count = looked["pair"]["groups"]
    assert 10 <= count == looked["looks"][0]["result"]["groups"]
    assert looked["looks"][0]["result"]["interval"]["groups"] == count
    assert f"by group, {count} groups" in looked["pair"]["message"]
    shown = " ".join(lab.ft30("test", "learnt", "--show").stdout.split())
    assert f"the rows come in {count} groups" in shown


def test_few_groups_give_no_verdict_and_sets_are_judged_by_group_too(lab: KindsLab) -> None:
    few = {**GROUPED, "eval_fraction": 0.1}
    for name, steps in (("few one", 1), ("few other", 2)):
        lab.train(SINGLE_LABEL, name, few, max_steps=steps)
    found = json.loads(lab.ft30("compare", "few one", "few other", "--json").stdout)
    (pair,) = found["pairs"]
    assert pair["groups"] < 10
    assert (pair["distinguishable"], pair["groups_needed"], pair["interval"]) == (None, 10, None)
    assert pair["message"].startswith(f"not enough groups: {pair['groups']}, at least 10 are needed for a verdict")

    sets = []
    for rate in (1e-6, 0.01):
        name = f"set {rate:g}"
        lab.write_config(SINGLE_LABEL, name, {**GROUPED, "eval_fraction": 0.4}, max_steps=8, learning_rate=rate)
        made = json.loads(lab.ft30("seeds", f"{name}.yaml", "--seeds", "2", "--here", "--json").stdout)
        assert made["summary"]["interval"]["groups"] >= 20
        sets.append(made["id"])
    judged = json.loads(lab.ft30("sets", "compare", *sets, "--json").stdout)
    assert judged["groups"] == made["summary"]["interval"]["groups"]
    assert f"by group, {judged['groups']} groups" in judged["message"]


def test_the_end_of_a_search_is_judged_by_group_on_both_kinds_of_rows(lab: KindsLab) -> None:
    kept = {**GROUPED, "eval_fraction": 0.4, "test_fraction": 0.3}
    file = lab.write_config(SINGLE_LABEL, "searched", kept, max_steps=40, save_steps=40, learning_rate=1e-6)
    search = {"seed": 1, "trials": 2, "sampler": "grid", "confirm": {"seeds": 2}}
    search["parameters"] = {"training.learning_rate": {"values": [0.02]}}
    with (lab.folder / file).open("a", encoding="utf-8") as stream:
        yaml.safe_dump({"search": search}, stream)
    lab.ft30("search", "start", file, "--here")
    shown = json.loads(lab.ft30("search", "show", "searched", "--json").stdout)["end"]
    for found in (shown["verdict"], shown["tests"][0]["result"]):
        assert (found["groups"] >= 10, found["groups_needed"]) == (True, None)
        assert f"over rows by group, {found['groups']} groups" in found["message"]
        assert found["method"].startswith("over rows, by group")


def test_a_wrong_column_and_a_shared_evaluation_file_are_said(lab: KindsLab) -> None:
    wrong = lab.server.run("train", "--config", "learnt.yaml", "--data.group_column", "writr", cwd=lab.folder)
    assert wrong.returncode == 1
    assert "there is no column 'writr'" in wrong.stderr
    assert "set data.group_column to 'writer'" in wrong.stderr
    named = lab.server.run(
        "train", "--config", "learnt.yaml", "--data.group_column", "text", "--data.text_column", "text", cwd=lab.folder
    )
    assert (named.returncode, "group_column 'text' is read as text or label" in named.stderr) == (2, True)
    lines = (lab.folder / "writers.csv").read_text(encoding="utf-8").splitlines()
    (lab.folder / "shared.csv").write_text("\n".join([lines[0], *lines[1:42:4]]) + "\n", encoding="utf-8")
    rest = [line for line in lines if line not in lines[1:42:4]]
    (lab.folder / "rest.csv").write_text("\n".join(rest) + "\n", encoding="utf-8")
    checked = lab.server.run(
        "data", "validate", "rest.csv", "--eval_file", "shared.csv", "--group_column", "writer",
        "--json", cwd=lab.folder,
    )  # fmt: skip
    assert "group_leakage" in checked.stdout
    report = json.loads(checked.stdout)
    counted = {one["rule"]: one for one in report["summary"]}
    assert counted["group_leakage"]["severity"] == "warn"
    assert counted["group_leakage"]["count"] == 32, "three rows of each of 11 writers, but the one that names nobody"
