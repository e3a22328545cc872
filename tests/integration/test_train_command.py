"""`ft30 train` and `ft30 predict` in real processes, on a tiny local model and local rows."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from functools import partial

import polars as pl
import pytest
import yaml

from support.present import present
from support.rows import write_reviews
from support.run_store_lab import new_postgresql_database, postgresql_server

pytestmark = pytest.mark.integration

LOG_ALL = ("--training.logging_steps", "1")


@pytest.fixture
def flags(tiny_model, tmp_path):
    """Flags of a small training, ready for `ft30 train`."""
    data = write_reviews(tmp_path / "reviews.csv", 60)
    chosen = {
        "--model": tiny_model("distilbert"),
        "--dataset": data,
        "--experiment_name": "first try",
        "--lora.target_modules": "auto",
        "--data.max_length": 64,
        "--epochs": 2,
        "--batch_size": 4,
        "--output_dir": tmp_path / "results",
    }
    return [str(part) for pair in chosen.items() for part in pair]


@pytest.fixture
def postgres_url():
    with postgresql_server() as server:
        yield new_postgresql_database(server)


def ft30(*arguments, **options):
    command = [sys.executable, "-m", "finetune30", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, **options)


@pytest.fixture
def forked(fork_server, tmp_path):
    """Run further commands where a first one has shown that a process which has imported nothing does it."""
    return lambda *arguments: fork_server.run(*map(str, arguments), cwd=tmp_path)


def rows_of(results):
    with sqlite3.connect(results / "experiments.db") as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM runs ORDER BY created_at")]


def test_training_leaves_the_documented_folder_and_row_and_its_model_answers(flags, forked, tmp_path):
    done = ft30("train", *flags)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "results").glob("first try_*")
    assert str(folder) in done.stdout
    assert "Accuracy" in done.stdout
    names = {path.name for path in folder.iterdir()}
    expected = "logs.txt config.yaml metrics.json history.jsonl data_report.json predictions.parquet manifest.json"
    assert names >= {*expected.split(), "artifacts"}

    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["score"], metrics["score_name"]) == (metrics["eval_accuracy"], "eval_accuracy")
    assert metrics["score_greater_is_better"] is True
    trainer_keys = ["train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "epoch"]
    wanted = [*trainer_keys, "eval_loss", "eval_accuracy", "eval_f1", "eval_precision", "eval_recall"]
    assert [key for key in [*wanted, "peak_memory_bytes"] if key not in metrics] == []
    predictions = pl.read_parquet(folder / "predictions.parquet")
    right = (predictions["label"] == predictions["prediction"]).mean()
    assert right == pytest.approx(metrics["eval_accuracy"])

    log = (folder / "logs.txt").read_text()
    assert all(word in log for word in ("device: cpu", "loss=", "learning_rate=", "eval_accuracy=", "SUCCEEDED"))
    (row,) = rows_of(tmp_path / "results")
    assert row["status"] == "SUCCEEDED"
    assert row["eval_accuracy"] == pytest.approx(metrics["eval_accuracy"])

    asked = ft30("predict", "latest", "--output_dir", tmp_path / "results", "--json", input="good film\nbad room\n")
    assert asked.returncode == 0, asked.stderr
    answers = [json.loads(line) for line in asked.stdout.splitlines()]
    assert [a["text"] for a in answers] == ["good film", "bad room"]
    assert all(set(a["probabilities"]) == {"negative", "positive"} for a in answers)

    labels = folder / "artifacts/final_model/labels.json"
    content = labels.read_bytes()
    labels.write_bytes(b"{")
    refused = forked("predict", "latest", "--output_dir", tmp_path / "results", "good film")
    assert refused.returncode == 1
    assert "final_model/labels.json has 1 bytes instead of" in refused.stderr
    labels.write_bytes(content)

    again = forked("train", "--config", folder / "config.yaml", "--output_dir", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    (second,) = (tmp_path / "again").glob("first try_*")
    model = "artifacts/final_model/adapter_model.safetensors"
    assert (second / model).read_bytes() == (folder / model).read_bytes()
    config = yaml.safe_load((second / "config.yaml").read_text())
    config["training"]["output_dir"] = str(tmp_path / "results")
    assert config == yaml.safe_load((folder / "config.yaml").read_text())


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGHUP])
def test_interrupted_training_is_cancelled_with_130_and_keeps_what_it_has(flags, tmp_path, sent):
    command = [
        sys.executable,
        "-m",
        "finetune30",
        "train",
        *flags,
        "--epochs",
        "10000",
        "--training.logging_steps",
        "1",
    ]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # A signal that is ignored where the tests run (nohup does that) would be ignored by the training, too.
        preexec_fn=partial(signal.signal, sent, signal.SIG_DFL),
    ) as process:
        too_late = threading.Timer(600, process.kill)  # it would train on for hours
        too_late.start()
        for line in present(process.stderr):
            if line.startswith("train step"):
                break
        process.send_signal(sent)
        errors = present(process.stderr).read()
        code = process.wait()
        too_late.cancel()
    assert code == 130, errors
    assert "Traceback" not in errors
    (row,) = rows_of(tmp_path / "results")
    assert row["status"] == "CANCELLED"
    assert "stopping at the next step" in errors
    assert f"Try: go on with: ft30 resume {row['id'][:8]}\n" in errors
    (folder,) = (tmp_path / "results").glob("first try_*")
    assert list(folder.glob("attempts/1/checkpoints/checkpoint-*/manifest.json"))
    assert (folder / "history.jsonl").read_text().count('"type": "train"') >= 1


@pytest.mark.parametrize("lines_read", [0, 1])
def test_training_goes_on_when_nobody_reads_its_output_any_more(flags, tmp_path, lines_read):
    command = [sys.executable, "-m", "finetune30", "train", *flags, *LOG_ALL]
    reading, writing = os.pipe()
    reader = os.fdopen(reading)
    if not lines_read:
        reader.close()
    with subprocess.Popen(command, stderr=writing, stdout=subprocess.DEVNULL) as process:
        os.close(writing)
        if lines_read:
            reader.readline()
            reader.close()
        assert process.wait(timeout=600) == 0
    (row,) = rows_of(tmp_path / "results")
    assert row["status"] == "SUCCEEDED"
    (folder,) = (tmp_path / "results").glob("first try_*")
    assert "eval_accuracy" in (folder / "logs.txt").read_text()


def test_killed_training_is_never_stuck_running(flags, tmp_path):
    command = [sys.executable, "-m", "finetune30", "train", *flags, "--epochs", "10000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        for line in present(process.stderr):
            if line.startswith("train step"):
                break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    started = time.monotonic()
    listed = ft30("runs", "list", "--output_dir", tmp_path / "results", "--json")
    assert listed.returncode == 0, listed.stderr
    (row,) = rows_of(tmp_path / "results")
    assert row["status"] == "FAILED"
    assert "process_lost" in row["error"]
    assert f"process {process.pid} on " in row["error"]
    assert time.monotonic() - started < 45  # a lease would hold the run for a minute


def test_labels_that_disagree_fail_before_any_training_and_are_recorded(flags, forked, tmp_path):
    done = forked("train", *flags, "--num_labels", "3")
    assert done.returncode == 1
    assert "num_labels" in done.stderr
    assert "Traceback" not in done.stderr
    (row,) = rows_of(tmp_path / "results")
    assert row["status"] == "FAILED"
    assert not list((tmp_path / "results").glob("*/attempts/1/checkpoints/*"))


def test_faulty_configuration_leaves_nothing_behind(flags, forked, tmp_path):
    done = forked("train", *flags, "--training.learning_rate", "-1", "--set", "lora.rank=3")
    assert done.returncode == 2
    assert "training.learning_rate" in done.stderr
    assert "lora.rank" in done.stderr
    assert not (tmp_path / "results").exists()


def test_old_door_trains_from_the_repository_root(flags, repository, tmp_path):
    command = [sys.executable, "app/train_lora_v2.py", *flags, "--learning_rate", "0.001", "--train_samples", "30"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=repository)
    assert done.returncode == 0, done.stderr
    assert rows_of(tmp_path / "results")[0]["status"] == "SUCCEEDED"


def test_old_door_finds_the_environment_that_make_built(repository, tmp_path):
    door, python = tmp_path / "app" / "train_lora_v2.py", tmp_path / ".venv" / "bin" / "python"
    for path, text in ((door, (repository / "app/train_lora_v2.py").read_text()), (python, "#!/bin/sh\necho $@\n")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    python.chmod(0o755)
    command = [sys.executable, "-S", str(door), "--epochs", "3"]  # -S: without installed packages

    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    assert done.stdout == f"{door} --epochs 3\n"

    python.unlink()
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("Try: make install\n")
    assert "Traceback" not in done.stderr


def test_postgresql_records_the_run_too(flags, tmp_path, postgres_url):
    environment = {**os.environ, "FT30_DATABASE_URL": postgres_url}
    done = ft30("train", *flags, env=environment)
    assert done.returncode == 0, done.stderr
    listed = ft30("runs", "list", "--json", "--output_dir", tmp_path / "results", env=environment)
    assert '"SUCCEEDED"' in listed.stdout
    assert not (tmp_path / "results" / "experiments.db").exists()
