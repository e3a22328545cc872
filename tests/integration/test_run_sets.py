"""Sets of real runs: seeds on the same rows, folds that hold out theirs, of every kind; killed and completed."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from sqlalchemy import text

from finetune30.data.versions.storage import VersionStore
from finetune30.store import open_store
from support.fork_server import ForkServer
from support.kinds import KINDS, REGRESSION, SINGLE_LABEL, Kind, KindsLab
from support.talk_lab import TalkLab

pytestmark = pytest.mark.integration

POINTS = ("set.before_row", "set.after_row", "submit.after_row", "submit.before_message", "set.after_run")


@pytest.fixture(scope="module")
def lab(fork_server: ForkServer, tiny_model: Any, tmp_path_factory: pytest.TempPathFactory) -> KindsLab:
    """Rows and a base model, no runs."""
    return KindsLab.make(fork_server, tmp_path_factory.mktemp("sets"), tiny_model())


def write_config(lab: KindsLab, kind: Kind, name: str, **training: Any) -> str:
    return lab.write_config(kind, name, {"split_seed": 3}, **{"num_train_epochs": 2, **training})


def show(lab: KindsLab, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.ft30("sets", "show", name, "--json").stdout)
    return found


def predictions_of(lab: KindsLab, name: str) -> pl.DataFrame:
    return pl.read_parquet(lab.run_folder(name) / "predictions.parquet").sort("row_id")


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_seeds_judge_the_same_rows_and_say_mean_spread_and_interval(lab: KindsLab, kind: Kind) -> None:
    name = f"seeds of {kind.name}"
    file = write_config(lab, kind, name)
    said = lab.ft30("seeds", file, "--seeds", "2", "--here")
    assert ("evaluation rows tell" in said.stderr) == (kind is not REGRESSION), "before anything starts"
    found = show(lab, name)
    assert [run["status"] for run in found["runs"]] == ["SUCCEEDED", "SUCCEEDED"]
    assert [run["seed"] for run in found["runs"]] == [42, 43]
    first, second = (predictions_of(lab, run["name"]) for run in found["runs"])
    assert first["row_id"].equals(second["row_id"])
    assert first["label"].equals(second["label"])
    summary = found["summary"]
    scores = [run["score"] for run in found["runs"]]
    assert summary["mean"] == pytest.approx(sum(scores) / 2)
    assert summary["interval"]["low"] <= summary["mean"] <= summary["interval"]["high"]
    assert (summary["power"] is None) == (kind is REGRESSION)
    again = lab.ft30("seeds", file, "--seeds", "2", "--here")
    assert "has succeeded" in again.stderr
    assert [run["run_id"] for run in show(lab, name)["runs"]] == [run["run_id"] for run in found["runs"]]
    assert json.loads(lab.ft30("seeds", file, "--seeds", "2", "--show", "--json").stdout)["id"] == found["id"]


def test_a_seed_of_a_set_is_the_run_that_train_makes(lab: KindsLab) -> None:
    file = write_config(lab, SINGLE_LABEL, "alone")
    lab.ft30("seeds", file, "--seeds", "1", "--here")
    (lab.folder / "plain.yaml").write_text(
        (lab.folder / file).read_text(encoding="utf-8").replace("experiment_name: alone", "experiment_name: plain"),
        encoding="utf-8",
    )
    lab.ft30("train", "--config", "plain.yaml")
    one, other = (
        json.loads((lab.run_folder(name) / "manifest.json").read_text(encoding="utf-8"))
        for name in ("alone-seed42", "plain")
    )
    assert one["digests"] == other["digests"]
    assert one["dataset_digest"] == other["dataset_digest"]


def test_folds_hold_out_every_row_once_with_its_text_and_group_and_choose_nothing(lab: KindsLab) -> None:
    rows = SINGLE_LABEL.rows()
    with (lab.folder / "grouped.csv").open("w", encoding="utf-8", newline="") as stream:
        table = [(line, label, f"writer {number // 3}") for number, (line, label) in enumerate(rows)]
        csv.writer(stream).writerows([("text", "label", "writer"), *table, (*rows[0], "writer 0")])
    file = write_config(
        lab, SINGLE_LABEL, "folds", eval_strategy="epoch", early_stopping_patience=1, load_best_model_at_end=True
    )
    flags = ("--dataset", "grouped.csv", "--data.eval_file", "null", "--group_column", "writer")
    said = lab.ft30("crossval", file, "--folds", "3", "--here", *flags)
    assert "without evaluations on the way, early stopping and a choice of weights" in said.stderr
    found = show(lab, "folds")
    assert [(run["repeat"], run["fold"]) for run in found["runs"]] == [(1, 1), (1, 2), (1, 3)]
    assert "Nadeau and Bengio" in found["summary"]["interval"]["method"]
    assert found["summary"]["rows"] == len(rows) + 1
    store = VersionStore(lab.folder / "data_store")
    held_out: list[str] = []
    writer_of = {line: writer for line, _, writer in table}
    for run in found["runs"]:
        manifest = store.get(run["dataset_digest"])
        train, test = (store.load_rows(manifest, split) for split in ("train", "evaluation"))
        assert not {writer_of[line] for line in train["text"]} & {writer_of[line] for line in test["text"]}
        held_out += test["text"].to_list()
        history = (lab.run_folder(run["name"]) / "history.jsonl").read_text(encoding="utf-8")
        assert '"eval"' not in history
    assert sorted(held_out) == sorted([line for line, _ in rows] + [rows[0][0]])


def test_two_sets_on_the_same_rows_get_a_verdict(lab: KindsLab) -> None:
    learnt = write_config(lab, SINGLE_LABEL, "learnt", num_train_epochs=20)
    barely = write_config(lab, SINGLE_LABEL, "barely", learning_rate=1e-6)
    for file in (learnt, barely):
        lab.ft30("seeds", file, "--seeds", "2", "--here")
    found = json.loads(lab.ft30("sets", "compare", "barely", "learnt", "--json").stdout)
    assert found["message"].startswith("'learnt'" if found["distinguishable"] else "not distinguishable: ")
    assert found["difference"] > 0
    assert "Welch" in found["method"]
    same = lab.server.run("sets", "compare", "learnt", "learnt", cwd=lab.folder)
    assert (same.returncode, "both are set" in same.stderr) == (1, True)
    ids = [part["id"] for part in json.loads(lab.ft30("sets", "list", "--json").stdout)]
    lab.ft30("sets", "compare", *ids[:2])
    refused = lab.server.run("sets", "compare", "learnt", "folds", cwd=lab.folder)
    assert (refused.returncode, "a set of seeds and one of folds" in refused.stderr) == (1, True)


@pytest.mark.parametrize("point", POINTS)
def test_a_set_that_was_killed_while_it_was_handed_in_is_completed_without_doubles(
    lab: KindsLab, point: str, tmp_path: Path
) -> None:
    name = f"killed {point}"
    file = write_config(lab, SINGLE_LABEL, name)
    home = {"FT30_RESULTS_FOLDER": str(tmp_path / "results"), "FT30_REDIS_URL": "redis://127.0.0.1:1/0"}
    command = ("seeds", file, "--seeds", "3")
    ended = lab.server.run(*command, cwd=lab.folder, **home, FT30_FAILPOINT=f"{point}:1")
    assert ended.returncode == -9, ended.stderr
    for _ in range(2):
        ended = lab.server.run(*command, cwd=lab.folder, **home)
        assert ended.returncode == 0, ended.stderr
    store = open_store(f"sqlite:///{tmp_path / 'results' / 'experiments.db'}")
    with store.engine.connect() as connection:
        assert connection.execute(text("select count(*) from run_sets")).scalar_one() == 1
        keys = connection.execute(text("select idempotency_key from runs order by idempotency_key")).scalars().all()
    store.close()
    assert [str(key).rpartition(":")[2] for key in keys] == ["1", "2", "3"]
    folders = [path for path in (tmp_path / "results").iterdir() if path.is_dir() and path.name.startswith(name)]
    assert len(folders) in (3, 4), "a folder without a row may be left of the one that was killed"


def test_a_set_that_was_cut_off_in_a_training_goes_on(lab: KindsLab) -> None:
    file = write_config(lab, SINGLE_LABEL, "cut off", save_steps=1)
    command = ("seeds", file, "--seeds", "2", "--here")
    ended = lab.server.run(*command, cwd=lab.folder, FT30_FAILPOINT="training.after_step:3")
    assert ended.returncode == -9
    again = lab.ft30(*command)
    assert "resuming from step" in again.stderr + again.stdout
    assert [run["status"] for run in show(lab, "cut off")["runs"]] == ["SUCCEEDED", "SUCCEEDED"]


def test_a_set_that_waits_for_a_worker_is_taken_back_and_trained_here(lab: KindsLab) -> None:
    file = write_config(lab, SINGLE_LABEL, "nobody", num_train_epochs=1)
    lab.ft30("seeds", file, "--seeds", "1")
    waits = lab.ft30("seeds", file, "--seeds", "1", "--here").stderr
    (told,) = re.findall(r"ft30 (runs cancel \w+)", waits)
    lab.ft30(*told.split())
    lab.ft30("seeds", file, "--seeds", "1", "--here")
    assert [run["status"] for run in show(lab, "nobody")["runs"]] == ["SUCCEEDED"]


def test_language_models_make_sets_too(fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    talk = TalkLab(fork_server, tmp_path_factory.mktemp("talk-sets"))
    tree = {
        "experiment_name": "talk",
        "model": {"name": "base", "problem_type": "causal_lm"},
        "lora": {"r": 2},
        "data": {"dataset_name": "train.jsonl", "eval_file": "eval.jsonl", "max_length": 64},
        "training": {"device": "cpu", "precision": "fp32", "max_steps": 2, "per_device_train_batch_size": 2},
        "chat": {"eval_generations": 0, "general_rows": 0},
    }
    (talk.folder / "talk.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    for command in (("seeds", "--seeds", "2"), ("crossval", "--folds", "2")):
        ended = talk.ft30(command[0], "talk.yaml", *command[1:], "--here", "--json")
        assert ended.returncode == 0, ended.stderr
        summary = json.loads(ended.stdout)["summary"]
        assert (summary["finished"], summary["score_name"], summary["power"]) == (2, "eval_loss", None)
        assert summary["interval"]["low"] < summary["mean"] < summary["interval"]["high"]


def test_a_dry_run_makes_nothing(lab: KindsLab) -> None:
    file = write_config(lab, SINGLE_LABEL, "dry")
    said = lab.ft30("seeds", file, "--seeds", "4", "--dry-run")
    assert "to see one point take 7,847" in said.stderr
    assert len(said.stdout.splitlines()) == 4
    assert not [line for line in lab.ft30("sets", "list").stdout.splitlines() if line.endswith("dry")]


def test_what_is_said_about_sets_is_done_to_the_letter(lab: KindsLab, tmp_path: Path) -> None:
    home = {"FT30_RESULTS_FOLDER": str(tmp_path / "results"), "FT30_REDIS_URL": "redis://127.0.0.1:1/0"}

    def ft30(*arguments: str, code: int = 0) -> str:
        ended = lab.server.run(*arguments, cwd=lab.folder, **home)
        assert ended.returncode == code, ended.stderr
        return ended.stderr + ended.stdout

    file = write_config(lab, SINGLE_LABEL, "to the letter")
    assert "make it: leave --show out" in ft30("seeds", file, "--seeds", "1", "--show", code=2)
    assert "No sets yet. Make one with: ft30 seeds FILE" in ft30("sets", "list")
    assert "list them with: ft30 sets list" in ft30("sets", "show", "nowhere", code=1)
    several = ft30("seeds", file, "--seeds", "1", "--here", "--training.processes", "2", code=2)
    assert "leave --here out" in several
    assert "it is there" not in ft30("seeds", file, "--seeds", "1", "--training.processes", "2")
    made = ft30("seeds", file, "--seeds", "1", "--data.test_fraction", "0.1", "--json")
    (set_id,) = re.findall(r"follow them: ft30 sets show (\w+)", made)
    assert "QUEUED" in ft30("sets", "show", set_id)
    other = next(one["id"] for one in json.loads(ft30("sets", "list", "--json")) if not one["id"].startswith(set_id))
    refused = ft30("sets", "compare", set_id, other, code=1)
    assert "wait for its runs: ft30 sets show SET" in refused
    assert set_id in ft30("sets", "list")


def test_two_sets_on_other_rows_are_made_on_the_same_as_is_said(lab: KindsLab) -> None:
    file = write_config(lab, SINGLE_LABEL, "rows")
    split = ("--data.eval_file", "null", "--max_steps", "1", "--seeds", "1", "--here", "--data.split_seed")
    for name, seed in (("one", "1"), ("other", "2"), ("same", "1")):
        rate = "0.01" if name == "one" else "0.02"
        lab.ft30("seeds", file, *split, seed, "--experiment_name", name, "--learning_rate", rate)
    refused = lab.server.run("sets", "compare", "one", "other", cwd=lab.folder)
    assert "make both on the same data with the same data.split_seed" in refused.stderr
    assert "1 and 1 seed)" in lab.ft30("sets", "compare", "one", "same").stdout


def test_the_test_split_of_a_data_set_is_kept_for_the_test_of_every_run_and_outside_of_all_folds(lab: KindsLab) -> None:
    rows = SINGLE_LABEL.rows()
    (lab.folder / "parts").mkdir()
    for number, split in enumerate(("train", "validation", "test")):
        chosen = [row for place, row in enumerate(rows) if (place % 5 < 3, place % 5 == 3, place % 5 == 4)[number]]
        with (lab.folder / "parts" / f"{split}.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("text", "label"), *chosen, *([("", "zest")] if split == "test" else ())])
    kept = {text for text, _ in chosen}
    file = write_config(lab, SINGLE_LABEL, "with test split", num_train_epochs=1)
    source = ("--dataset", "parts", "--data.eval_file", "null", "--data.test_split", "test")
    said = lab.ft30("crossval", file, "--folds", "2", *source, "--dry-run", "--json")
    assert f"{len(kept)} rows of the split 'test' are kept as test rows; left out: 1 empty_text" in said.stderr
    store = VersionStore(lab.folder / "data_store")
    planned = json.loads(said.stdout)
    digests = {planned["dataset_digest"], *(entry["dataset_digest"] for entry in planned["plan"])}
    assert len(digests) == 3
    for digest in digests:
        manifest = store.get(digest)
        assert set(store.load_rows(manifest, "test")["text"]) == kept
        assert not kept & {
            text for split in ("train", "evaluation") for text in store.load_rows(manifest, split)["text"]
        }
    lab.ft30("seeds", file, "--seeds", "1", *source, "--here")
    (run,) = show(lab, "with test split")["runs"]
    assert run["dataset_digest"] == planned["dataset_digest"]
    (look,) = json.loads(lab.ft30("test", run["run_id"], "--json").stdout)
    assert look["result"]["rows"] == len(kept)
    assert look["result"]["left_out"] == {}
