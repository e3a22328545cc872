"""What `ft30 resume` refuses, what it allows, and the warm start."""

from __future__ import annotations

import hashlib
import json
import signal
import sqlite3

import pytest

from support.exactness import fingerprint
from support.rows import write_reviews

pytestmark = pytest.mark.integration

CONSTANT = {"training.lr_scheduler_type": "constant"}


def killed_lab(make_lab, changes=None, point="training.after_step:7"):
    lab = make_lab(changes)
    assert lab.train("results", FT30_FAILPOINT=point).returncode == -signal.SIGKILL
    return lab


@pytest.fixture(scope="module")
def killed(make_lab):
    """A lab with a killed run; refusing leaves it as it is."""
    return killed_lab(make_lab)


def test_changed_configuration_is_refused_with_the_list(killed):
    ended = killed.ft30("resume", "latest", "--set", "training.seed=7", "--set", "lora.r=4")
    assert ended.returncode == 1
    assert "lora.r: 2 -> 4; training.seed: 42 -> 7" in ended.stderr
    assert "--warm-start" in ended.stderr


def test_edited_configuration_in_the_run_folder_is_refused(killed):
    config = killed.run_folder("results") / "config.yaml"
    text = config.read_text()
    config.unlink()  # the link, not the attempt's own file
    config.write_text(text.replace("learning_rate: 0.01", "learning_rate: 0.02"))
    ended = killed.ft30("resume", "latest")
    config.write_text(text)
    assert ended.returncode == 1
    assert "training.learning_rate: 0.01 -> 0.02 (in config.yaml" in ended.stderr


def test_more_epochs_under_a_linear_schedule_are_refused_with_the_reason(killed):
    ended = killed.ft30("resume", "latest", "--epochs", "5")
    assert ended.returncode == 1
    assert "the linear schedule would have given the 6 steps so far other rates" in ended.stderr


def test_changed_rows_base_and_threads_are_refused_with_the_list(make_lab, tmp_path):
    lab = killed_lab(make_lab)
    write_reviews(lab.folder / "train.csv", 23, first=1)
    base = tmp_path / "base"
    base.mkdir()
    for file in (lab.folder / "base").resolve().iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "dropout": 0.2}))
    (lab.folder / "base").unlink()
    (lab.folder / "base").symlink_to(base)
    ended = lab.ft30("resume", "latest")
    assert ended.returncode == 1
    assert "checkpoint-00000006 belongs to another training" in ended.stderr
    assert "base.tokenizer and config:" in ended.stderr
    assert "dataset:" in ended.stderr
    assert json.loads(lab.ft30("runs", "show", "latest", "--json").stdout)["run"]["status"] == "FAILED"


def test_run_of_a_problem_that_is_not_installed_any_more_is_refused_by_name(make_lab):
    lab = killed_lab(make_lab)
    with sqlite3.connect(lab.folder / "results" / "experiments.db") as database:
        database.execute("UPDATE runs SET config = json_set(config, '$.model.problem_type', 'telepathy')")
    for command in (["resume", "latest"], ["resume", "latest", "--warm-start"]):
        ended = lab.ft30(*command)
        assert ended.returncode == 2
        assert "model.problem_type: 'telepathy' is not allowed" in ended.stderr


def test_checkpoint_of_an_earlier_packed_path_is_refused(make_lab):
    lab = killed_lab(make_lab, {"training.engine": "packed"})
    folder = lab.run_folder("results") / "attempts" / "1" / "checkpoints" / "checkpoint-00000006"
    state, manifest = (json.loads((folder / name).read_text()) for name in ("state.json", "manifest.json"))
    del state["identity"]["packed_path_version"]
    content = json.dumps(state).encode()
    manifest["files"]["state.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    (folder / "state.json").write_bytes(content)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    ended = lab.ft30("resume", "latest")
    assert ended.returncode == 1
    assert "belongs to another training: packed_path_version: None -> 4" in ended.stderr


def test_more_epochs_under_a_constant_schedule_give_the_longer_run(make_lab):
    lab = killed_lab(make_lab, CONSTANT)
    ended = lab.ft30("resume", "latest", "--epochs", "4")
    assert ended.returncode == 0, ended.stderr
    longer = make_lab({**CONSTANT, "training.num_train_epochs": 4})
    assert longer.train("results").returncode == 0
    assert fingerprint(lab.run_folder("results")) == fingerprint(longer.run_folder("results"))
    assert "num_train_epochs: 4" in (lab.run_folder("results") / "config.yaml").read_text()


def test_succeeded_run_is_not_resumed_but_starts_another_warm(make_lab):
    lab = make_lab()
    assert lab.train("results").returncode == 0
    first = lab.run_folder("results")
    ended = lab.ft30("resume", first.name)
    assert ended.returncode == 1
    assert "is SUCCEEDED" in ended.stderr
    ended = lab.ft30("resume", first.name, "--warm-start", "--set", "training.learning_rate=0.001")
    assert ended.returncode == 0, ended.stderr
    (second,) = [p for p in (lab.folder / "results").iterdir() if p.is_dir() and p != first]
    config = (second / "config.yaml").read_text()
    assert f"start_adapter: {first / 'artifacts' / 'final_model'}" in config
    assert "learning_rate: 0.001" in config
    before, after = fingerprint(first), fingerprint(second)
    assert before["tensors"].keys() == after["tensors"].keys()
    assert before["tensors"] != after["tensors"]


def test_killed_warm_start_resumes_to_the_same_bytes(killed):
    whole = killed.ft30("resume", "latest", "--warm-start", "--set", "experiment_name=warm")
    assert whole.returncode == 0, whole.stderr
    dead = killed.ft30(
        *("resume", "exact", "--warm-start", "--set", "experiment_name=dead"), FT30_FAILPOINT="training.after_step:1"
    )
    assert dead.returncode == -signal.SIGKILL
    assert killed.ft30("resume", "dead").returncode == 0
    runs = {p.name.partition("_")[0]: p for p in (killed.folder / "results").iterdir() if p.is_dir()}
    assert fingerprint(runs["dead"]) == fingerprint(runs["warm"])
