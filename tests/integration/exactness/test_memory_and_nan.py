"""Out of memory and numbers that are none, in real runs."""

from __future__ import annotations

import json
import math
import signal

import pytest

from support.exactness import Lab, fingerprint, history_of

pytestmark = pytest.mark.integration


def memory_events_of(run):
    return [record for record in history_of(run) if record.get("event") == "out_of_memory"]


def test_out_of_memory_goes_on_with_half_the_micro_batch(demanding):
    lab, _ = demanding()
    ended = lab.train("memory", FT30_FAILPOINT="training.memory:8:raise")
    assert ended.returncode == 0, ended.stderr
    run = lab.run_folder("memory")
    (event,) = memory_events_of(run)
    assert (event["event"], event["step"], event["micro_batch_size"]) == ("out_of_memory", 2, 1)
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["total_steps"], metrics["micro_batch_size"]) == (12, 1)
    # Same rows, same effective batch: what was logged before the event is as it would have been without it.
    assert history_of(run)[0] == demanding()[1]["history"][0]
    assert [r["samples"] for r in history_of(run) if r["type"] == "train"] == [12, 23, 35, 46, 58, 69]
    assert "out of memory; going on with micro-batch 1" in (run / "logs.txt").read_text()


def test_run_after_out_of_memory_is_killed_and_resumes_with_the_small_micro_batch(demanding):
    lab, _ = demanding()
    points = "training.memory:5:raise"
    assert lab.train("whole-memory", FT30_FAILPOINT=points).returncode == 0
    killed = lab.train("killed-memory", FT30_FAILPOINT=f"{points},training.after_step:7")
    assert killed.returncode == -signal.SIGKILL
    assert lab.ft30("resume", "latest", results="killed-memory").returncode == 0
    assert fingerprint(lab.run_folder("killed-memory")) == fingerprint(lab.run_folder("whole-memory"))


def test_out_of_memory_for_the_fourth_time_fails_with_advice(make_lab):
    lab: Lab = make_lab({"training.per_device_train_batch_size": 16, "training.gradient_accumulation_steps": 1})
    ended = lab.train("results", FT30_FAILPOINT="training.memory:1+:raise")
    assert ended.returncode == 1
    assert "with micro-batch 2, after 3 halvings" in ended.stderr
    # What needs less memory without another result; unit/training/test_remedies_of_training.py follows it.
    advice = "training.per_device_train_batch_size 1 and training.gradient_accumulation_steps 16 (as many rows a step)"
    assert f"Try: start a new run with {advice}" in ended.stderr
    assert [e["micro_batch_size"] for e in memory_events_of(lab.run_folder("results"))] == [8, 4, 2]


def test_infinite_weight_stops_the_run_names_the_rows_and_keeps_the_checkpoint(poisoned_lab):
    changes = {"training.early_stopping_patience": None, "training.load_best_model_at_end": False}
    lab = poisoned_lab("sad", {**changes, "training.save_steps": 1, "training.eval_strategy": "no"})
    ended = lab.train("results")
    assert ended.returncode == 1
    assert "the loss is nan at step" in ended.stderr
    failed = error_of_latest(lab)
    assert failed["error"] == "non_finite_loss"
    with_the_word = {f"train.csv:{2 + i}" for i in range(23) if i % 2 == 0 and i // 2 % 6 == 3}
    assert with_the_word & set(failed["details"]["rows"])
    step = failed["details"]["step"]
    kept = lab.run_folder("results") / "attempts" / "1" / "checkpoints"
    assert step == 1 or (kept / f"checkpoint-{step - 1:08d}" / "manifest.json").is_file()
    again = lab.ft30("resume", "latest")
    assert again.returncode == 1  # the same rows, the same end: exact also in this
    assert f"the loss is nan at step {step}" in again.stderr


def test_evaluation_that_is_not_a_number_stops_the_run_and_names_the_rows(poisoned_lab):
    lab = poisoned_lab("broke")
    with (lab.folder / "eval.csv").open("a") as file:
        file.write("the film broke again,negative\n")
    ended = lab.train("results")
    assert ended.returncode == 1
    assert "the evaluation loss is nan after step 3; rows: eval.csv:11" in ended.stderr
    assert "the good checkpoint of step 2 is kept" in ended.stderr
    assert error_of_latest(lab)["details"]["rows"] == ["eval.csv:11"]
    assert "NaN" not in (lab.run_folder("results") / "history.jsonl").read_text()


def test_rows_that_are_named_are_looked_at_and_left_out(poisoned_lab):
    lab = poisoned_lab("sad", {"training.early_stopping_patience": None})
    assert lab.train("results").returncode == 1
    failed = error_of_latest(lab)
    assert "start a new run with a lower training.learning_rate, or look at those rows; " in failed["remedy"]
    lines = (lab.folder / "train.csv").read_text().splitlines()
    named = [lines[int(name.rpartition(":")[2]) - 1] for name in failed["details"]["rows"]]
    assert any("sad" in line for line in named)
    for path in (lab.folder / "train.csv", lab.folder / "eval.csv"):
        kept = [line for line in path.read_text().splitlines() if "sad" not in line]
        path.write_text("\n".join(kept) + "\n")
    assert lab.train("again").returncode == 0


def test_new_run_begins_from_the_good_checkpoint_that_is_kept(poisoned_lab):
    lab = poisoned_lab("broke")
    whole = (lab.folder / "eval.csv").read_text()
    (lab.folder / "eval.csv").write_text(whole + "the film broke again,negative\n")
    assert lab.train("results").returncode == 1
    failed = error_of_latest(lab)
    assert failed["remedy"].endswith(
        "the good checkpoint of step 2 is kept; a new run begins from it with: "
        "ft30 resume RUN --warm-start --set KEY=VALUE"
    )
    assert failed["details"]["rows"] == ["eval.csv:11"]
    (lab.folder / "mended.csv").write_text(whole)
    before = lab.run_folder("results")
    ended = lab.ft30("resume", "latest", "--warm-start", "--set", "data.eval_file=mended.csv")
    assert ended.returncode == 0, ended.stderr
    (begun,) = [path for path in (lab.folder / "results").iterdir() if path.is_dir() and path != before]
    config = (begun / "config.yaml").read_text()
    assert "warm_start/checkpoint-00000002" in config
    assert "eval_file: mended.csv" in config


def error_of_latest(lab):
    return json.loads(lab.ft30("runs", "show", "latest", "--json").stdout)["run"]["error"]


@pytest.fixture
def poisoned_lab(make_lab, tiny_model, tmp_path):
    """Return make(word, changes) -> a lab whose base model has an infinite embedding for that word."""

    def make(word, changes=None):
        from safetensors.torch import load_file, save_file

        lab: Lab = make_lab(changes)
        base = tmp_path / "poisoned"
        base.mkdir()
        for file in tiny_model("distilbert").iterdir():
            (base / file.name).write_bytes(file.read_bytes())
        vocabulary = json.loads((base / "tokenizer.json").read_text())["model"]["vocab"]
        weights = load_file(base / "model.safetensors")
        (name,) = [n for n in weights if n.endswith("word_embeddings.weight")]
        weights[name][vocabulary[word]] = math.inf
        save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
        (lab.folder / "base").unlink()
        (lab.folder / "base").symlink_to(base)
        return lab

    return make
