"""Learning curves of real runs: nested shares of the training rows, the same evaluation rows, an answer, every kind."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import yaml

from finetune30.data.versions.storage import VersionStore
from finetune30.ui.messages import translate_message
from support.fork_server import ForkServer
from support.kinds import REGRESSION, SINGLE_LABEL, KindsLab
from support.talk_lab import TalkLab

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def lab(fork_server: ForkServer, tiny_model: Any, tmp_path_factory: pytest.TempPathFactory) -> KindsLab:
    """Rows and a base model, no runs."""
    return KindsLab.make(fork_server, tmp_path_factory.mktemp("curves"), tiny_model())


def curve(lab: KindsLab, file: str, *flags: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.ft30("curve", file, *flags, "--json").stdout)
    return found


def test_shares_are_nested_keep_classes_and_groups_and_all_runs_judge_the_same_rows(lab: KindsLab) -> None:
    rows = [row for place, row in enumerate(SINGLE_LABEL.rows()) if place % 5]  # the others are evaluated
    table = [(line, label, f"writer {number // 3}") for number, (line, label) in enumerate(rows)]
    with (lab.folder / "grouped.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("text", "label", "writer"), *table])
    file = lab.write_config(SINGLE_LABEL, "nested", {"dataset_name": "grouped.csv", "split_seed": 3})
    flags = ("--shares", "0.25,0.5,1", "--seeds", "2", "--group_column", "writer", "--dry-run")
    planned = curve(lab, file, *flags)
    assert planned == curve(lab, file, *flags), "the same seed gives the same rows"
    store, writer_of = VersionStore(lab.folder / "data_store"), {line: writer for line, _, writer in table}
    for seed in (42, 43):
        entries = [entry for entry in planned["plan"] if entry["seed"] == seed]
        manifests = [store.get(entry["dataset_digest"]) for entry in entries]
        train = [set(store.load_rows(manifest, "train")["text"]) for manifest in manifests]
        judged = [store.load_rows(manifest, "evaluation")["text"].to_list() for manifest in manifests]
        assert judged[0] == judged[1] == judged[2]
        assert [len(texts) for texts in train] == [entry["rows"] for entry in entries]
        assert all(small < large for small, large in pairwise(train))
        for texts in train:
            outside = train[-1] - texts
            assert not {writer_of[line] for line in texts} & {writer_of[line] for line in outside}
        assert manifests[-1].digest == planned["dataset_digest"]
    halves = [entry["dataset_digest"] for entry in planned["plan"] if entry["share"] == 0.5]
    assert halves[0] != halves[1], "every seed draws rows of its own"
    plain = curve(lab, file, "--shares", "0.5,1", "--seeds", "2", "--dry-run")
    labels = Counter(store.load_rows(store.get(plain["plan"][0]["dataset_digest"]), "train")["label"])
    assert max(labels.values()) - min(labels.values()) <= 2, "each of three equally frequent classes has its share"


def test_a_curve_tells_the_score_by_share_and_what_doubling_brought(lab: KindsLab) -> None:
    file = lab.write_config(SINGLE_LABEL, "told", num_train_epochs=2)
    command = ("curve", file, "--shares", "0.5,1", "--seeds", "2")
    said = lab.ft30(*command, "--here")
    assert "for 2 epochs" in said.stderr
    assert re.search(r"^ +24 rows \(0\.5\)  2 of 2 runs  mean ", said.stdout, re.MULTILINE)
    found = json.loads(lab.ft30("sets", "show", "told", "--json").stdout)
    assert [run["name"].removeprefix("told") for run in found["runs"]] == [
        "-share0.5-seed42", "-share0.5-seed43", "-share1-seed42", "-share1-seed43",
    ]  # fmt: skip
    summary = found["summary"]
    for point in summary["points"]:
        scores = [run["score"] for run in found["runs"] if run["share"] == point["share"]]
        assert point["mean"] == pytest.approx(sum(scores) / 2)
        assert point["interval"]["low"] <= point["mean"] <= point["interval"]["high"]
    answer = summary["answer"]
    assert answer["gain"] == pytest.approx(summary["points"][1]["mean"] - summary["points"][0]["mean"])
    assert answer["interval"][0] <= answer["gain"] <= answer["interval"][1]
    assert answer["training_rows"] == [24, 48]
    assert answer["message"].splitlines()[0] in said.stdout
    assert translate_message("zh", answer["message"]) is not None
    again = lab.ft30(*command, "--here", "--json")
    assert "has succeeded" in again.stderr
    assert json.loads(again.stdout)["id"] == found["id"]
    assert json.loads(lab.ft30(*command, "--show", "--json").stdout)["id"] == found["id"]
    assert "curve" in lab.ft30("sets", "list").stdout


def test_the_runs_on_all_rows_are_those_of_seeds(lab: KindsLab) -> None:
    file = lab.write_config(SINGLE_LABEL, "whole")
    whole = [entry for entry in curve(lab, file, "--seeds", "2", "--dry-run")["plan"] if entry["share"] == 1]
    seeds = json.loads(lab.ft30("seeds", file, "--seeds", "2", "--dry-run", "--json").stdout)["plan"]
    told = [[(entry["seed"], entry["dataset_digest"]) for entry in plan] for plan in (whole, seeds)]
    assert told[0] == told[1]


def test_numbers_and_language_models_have_curves_of_losses(lab: KindsLab, fork_server: ForkServer) -> None:
    file = lab.write_config(REGRESSION, "numbers", num_train_epochs=1)
    summary = curve(lab, file, "--shares", "0.5,1", "--seeds", "2", "--here")["summary"]
    assert summary["answer"]["measure"] == "squared_error"
    assert "in mean squared error" in summary["answer"]["message"]
    folder = lab.folder / "talk"
    folder.mkdir()
    talk = TalkLab(fork_server, folder)
    tree = {
        "experiment_name": "talk",
        "model": {"name": "base", "problem_type": "causal_lm"},
        "lora": {"r": 2},
        "data": {"dataset_name": "train.jsonl", "eval_file": "eval.jsonl", "max_length": 64},
        "training": {"device": "cpu", "precision": "fp32", "max_steps": 2, "per_device_train_batch_size": 2},
        "chat": {"eval_generations": 0, "general_rows": 0},
    }
    (talk.folder / "talk.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    ended = talk.ft30("curve", "talk.yaml", "--shares", "0.5,1", "--seeds", "2", "--here", "--json")
    assert ended.returncode == 0, ended.stderr
    assert "for 2 steps" in ended.stderr
    answer = json.loads(ended.stdout)["summary"]["answer"]
    assert "in mean loss a row" in answer["message"]
    for message in (summary["answer"]["message"], answer["message"]):
        assert translate_message("zh", message) is not None, message


def test_what_is_said_about_curves_is_done_to_the_letter(lab: KindsLab) -> None:
    file = lab.write_config(SINGLE_LABEL, "to the letter")

    def refused(*flags: str, code: int = 2) -> str:
        ended = lab.server.run("curve", file, *flags, "--dry-run", cwd=lab.folder)
        assert ended.returncode == code, ended.stderr
        return ended.stderr

    assert "'much' is no list of numbers such as 0.25,0.5,1" in refused("--shares", "much")
    assert "write them as 0.125,0.25,0.5,1" in refused("--shares", "1,0.5")
    assert "add 0.5 and 1 to the shares" in refused("--shares", "0.3,0.6")
    assert "give fewer shares, or larger ones" in refused("--shares", "0.01,0.02,0.5,1", code=1)
    for shares in ("0.25,0.5,1", "0.125,0.25,0.5,1", "0.3,0.5,0.6,1"):
        assert (
            len(curve(lab, file, "--shares", shares, "--seeds", "2", "--dry-run")["plan"]) == 2 * shares.count(",") + 2
        )
    lab.ft30("seeds", file, "--seeds", "1", "--max_steps", "1", "--here")
    made = lab.ft30("curve", file, "--seeds", "2", "--shares", "0.5,1", "--max_steps", "1", "--json").stdout
    seeds = next(one for one in json.loads(lab.ft30("sets", "list", "--json").stdout) if one["purpose"] == "seeds")
    ended = lab.server.run("sets", "compare", seeds["id"], json.loads(made)["id"], cwd=lab.folder)
    assert ended.returncode == 1
    assert "compare the configurations under several seeds: ft30 seeds FILE" in ended.stderr
