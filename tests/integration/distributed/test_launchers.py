"""The launchers themselves: torchrun against one process, its SIGTERM, and what accelerate does on a CPU."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from support.gang import Gang
from support.patience import patient
from support.rows import write_reviews

pytestmark = pytest.mark.integration

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
COMMON = ("train", "--device", "cpu", "--epochs", "2", "--seed", "5")


def losses_of(folder: Path) -> list[float]:
    (history,) = folder.glob("*/history.jsonl")
    records = [json.loads(line) for line in history.read_text().splitlines()]
    return [record["loss"] for record in records if record["type"] == "train"]


@pytest.fixture
def without_dropout(tiny_model: Callable[..., Path], tmp_path: Path) -> Path:
    """A tiny model whose random masks cannot make two processes differ from one."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model("distilbert"), folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def run(launcher: Sequence[str], batch_size: int, output: Path, model: Path, data: Path) -> None:
    flags = {
        "--model": model,
        "--dataset": data,
        "--batch_size": batch_size,
        "--output_dir": output,
        "--data.max_length": 64,
        "--training.precision": "fp32",
        "--training.engine": "general",
        "--lora.lora_dropout": 0,
        "--lora.target_modules": "auto",
        "--training.logging_steps": 1,
        "--training.gradient_accumulation_steps": 2,
    }
    arguments = [str(part) for pair in flags.items() for part in pair]
    command = [*launcher, "-m", "finetune30", *COMMON, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_under_torchrun_give_the_loss_curve_of_one(without_dropout: Path, tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "reviews.csv", 43)
    run([sys.executable], 4, tmp_path / "one", without_dropout, data)
    run(TORCHRUN, 2, tmp_path / "two", without_dropout, data)
    one, two = losses_of(tmp_path / "one"), losses_of(tmp_path / "two")
    assert len(one) == len(two) > 5
    assert two == pytest.approx(one, rel=2e-5)
    assert len(list((tmp_path / "two").glob("*/manifest.json"))) == 1  # recorded once, by process 0


def test_torchrun_that_is_terminated_hands_the_run_back_with_a_checkpoint(make_gang: Callable[..., Gang]) -> None:
    gang = make_gang()
    environment = {
        **os.environ,
        "FT30_RESULTS_FOLDER": "results",
        "FT30_FAILPOINT": "training.after_step:1+:wait1",
    }
    command = [*TORCHRUN, "-m", "finetune30", "train", "--config", "config.yaml"]
    with subprocess.Popen(command, cwd=gang.lab.folder, env=environment, stderr=subprocess.PIPE, text=True) as launcher:
        gang.wait_for_step(1, "results")
        launcher.send_signal(signal.SIGTERM)
        _, said = launcher.communicate(timeout=patient(60))
    row, kept = gang.row("results"), gang.checkpoints("results")
    assert (row["status"], row["error"]["error"]) == ("FAILED", "handed_back"), said
    assert f"stopped after step {kept[-1]} of 6" in row["error"]["message"]


def test_one_process_that_accelerate_starts_for_two_is_refused(make_gang: Callable[..., Gang]) -> None:
    gang = make_gang()
    launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--cpu", "--num_processes", "2"]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    done = subprocess.run(
        [*launcher, "-m", "finetune30", "train", "--config", "config.yaml"],
        cwd=gang.lab.folder,
        env={**os.environ, "FT30_RESULTS_FOLDER": "results"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode != 0
    assert "started this one alone" in done.stderr
    assert "start them with torchrun instead" in done.stderr
    assert not (gang.lab.folder / "results").exists()
