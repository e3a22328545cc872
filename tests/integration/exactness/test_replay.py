"""Finished runs of many kinds, repeated from their records and found identical; and what is said when they are not."""

from __future__ import annotations

import json
import shutil

import polars as pl
import pytest

from finetune30.service.execution.replay_verdict import Result, compare_results
from finetune30.store import RunFolder
from support.rows import write_reviews

pytestmark = pytest.mark.integration

_NO_BEST = {"training.load_best_model_at_end": False, "training.metric_for_best_model": None}
_EPOCHS = {"training.eval_strategy": "epoch", "training.num_train_epochs": 2}
_REGRESSION = {"model.num_labels": 1, "model.problem_type": "regression", **_NO_BEST}
_MULTI_LABEL = {"model.problem_type": "multi_label_classification", "data.label_separator": "|", **_NO_BEST}

#: Name -> base model, changes of the demanding configuration, labels of the rows.
VARIED = {
    "as it is": ("distilbert", {}, None),
    "bert bf16": ("bert", {"training.precision": "bf16"}, None),
    "roberta cosine": ("roberta", {"training.lr_scheduler_type": "cosine", "training.warmup_ratio": 0.3}, None),
    "llama gradients unclipped": ("llama", {"training.max_grad_norm": 0.0}, None),
    "regression": ("distilbert", _REGRESSION, ("0.25", "1.5")),
    "multi-label": ("distilbert", _MULTI_LABEL, ("good|short", "good")),
    "early stopping": ("distilbert", {"training.early_stopping_patience": 1, "training.eval_steps": 1}, None),
    "no accumulation, epochs": ("distilbert", {"training.gradient_accumulation_steps": 1, **_EPOCHS}, None),
    "max_steps and weight decay": ("bert", {"training.max_steps": 5, "training.weight_decay": 0.1}, None),
    "dora": ("distilbert", {"lora.use_dora": True}, None),
    "rslora, all linear, biases": (
        "distilbert",
        {"lora.use_rslora": True, "lora.target_modules": "all-linear", "lora.bias": "lora_only"},
        None,
    ),
    "bf16, biases and embeddings": (
        "bert",
        {"training.precision": "bf16", "lora.bias": "all", "lora.modules_to_save": ["embeddings"]},
        None,
    ),
    "other seed, constant rate": (
        "distilbert",
        {"training.seed": 7, "training.lr_scheduler_type": "constant_with_warmup", "training.warmup_steps": 2},
        None,
    ),
}
IN_SHORT = ("bert bf16", "early stopping")
PACKED = {
    "packed": ("distilbert", {"training.engine": "packed"}, None),
    "packed bert": ("bert", {"training.engine": "packed", **_EPOCHS}, None),
}


def replay(make_lab, family, changes, labels):
    lab = make_lab(changes, family)
    if labels:
        write_reviews(lab.folder / "train.csv", 23, labels=labels)
        write_reviews(lab.folder / "eval.csv", 9, labels=labels, first=100)
    trained = lab.train("results")
    assert trained.returncode == 0, trained.stderr
    replayed = lab.ft30("replay", "latest", "--json")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    report = json.loads(replayed.stdout)
    assert report["identical"]
    assert not report["environment"]
    assert not report["inputs"]


@pytest.mark.parametrize("kind", IN_SHORT)
def test_replay_of_a_run_is_identical(make_lab, kind):
    replay(make_lab, *VARIED[kind])


@pytest.mark.chaos
@pytest.mark.parametrize("kind", [kind for kind in VARIED if kind not in IN_SHORT])
def test_replay_of_more_kinds_of_runs_is_identical(make_lab, kind):
    replay(make_lab, *VARIED[kind])


@pytest.mark.chaos
@pytest.mark.parametrize("kind", PACKED)
def test_replay_on_the_packed_path_is_identical(make_lab, kind):
    replay(make_lab, *PACKED[kind])


@pytest.fixture(scope="module")
def finished(make_lab):
    """A lab with one finished run."""
    lab = make_lab()
    assert lab.train("results").returncode == 0
    return lab


def test_replay_is_linked_to_its_run_in_its_record(finished):
    original = json.loads(finished.ft30("runs", "show", "exact", "--json").stdout)["run"]
    ended = finished.ft30("replay", "exact")
    assert ended.returncode == 0, ended.stderr
    assert "identical (weights, optimizer" in ended.stdout
    repeated = json.loads(finished.ft30("runs", "show", "exact-replay", "--json").stdout)
    assert repeated["run"]["metrics"]["origin"] == {"replay_of": original["id"]}
    (folder,) = (finished.folder / "results").glob("exact-replay_*")
    assert json.loads((folder / "manifest.json").read_text())["origin"] == {"replay_of": original["id"]}
    assert json.loads((folder / "replay.json").read_text())["identical"] is True


def test_replay_on_other_rows_says_so_by_how_much_and_fails(finished):
    rows = finished.folder / "train.csv"
    before = rows.read_bytes()
    write_reviews(rows, 23, first=1)
    ended = finished.ft30("replay", "exact")
    rows.write_bytes(before)
    assert ended.returncode == 1
    assert "NOT identical" in ended.stdout
    assert "inputs:\n  dataset: " in ended.stdout
    assert "by up to" in ended.stdout
    assert "first difference in the history:\n  step 2 train " in ended.stdout


def test_changed_record_is_not_replayed(finished):
    shutil.copytree(finished.folder / "results", finished.folder / "changed")
    (folder,) = (finished.folder / "changed").glob("exact_2*")
    (folder / "config.yaml").write_text("{}")
    ended = finished.ft30("replay", folder.name, results="changed")
    assert ended.returncode == 1
    assert "is not as it was published: config.yaml has" in ended.stderr


def test_record_of_an_earlier_version_without_outcomes_is_identical(finished):
    (folder,) = (finished.folder / "results").glob("exact_2*")
    shutil.copytree(folder, finished.folder / "earlier")
    path = finished.folder / "earlier" / "predictions.parquet"
    pl.read_parquet(path).drop("outcome").write_parquet(path)
    now = Result.published(RunFolder(folder))
    assert compare_results(Result.published(RunFolder(path.parent)), now).identical
    pl.read_parquet(path).with_columns(prediction=pl.lit("other")).write_parquet(path)
    assert not compare_results(Result.published(RunFolder(path.parent)), now).identical
