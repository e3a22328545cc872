"""Two processes on the CPU against one process with the same effective batch."""

import json
import subprocess
import sys

import pytest

from support.rows import write_reviews

pytestmark = pytest.mark.integration

COMMON = ["train", "--device", "cpu", "--epochs", "2", "--seed", "5"]


def losses_of(folder):
    (history,) = folder.glob("*/history.jsonl")
    records = [json.loads(line) for line in history.read_text().splitlines()]
    return [record["loss"] for record in records if record["type"] == "train"]


@pytest.fixture
def without_dropout(tiny_model, tmp_path):
    """A tiny model whose random masks cannot make two processes differ from one."""
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(tiny_model("distilbert"), folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def run(launcher, batch_size, output, model, data):
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


def test_two_processes_under_torchrun_give_the_loss_curve_of_one(without_dropout, tmp_path):
    data = write_reviews(tmp_path / "reviews.csv", 43)
    run([sys.executable], 4, tmp_path / "one", without_dropout, data)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run(launcher, 2, tmp_path / "two", without_dropout, data)
    one, two = losses_of(tmp_path / "one"), losses_of(tmp_path / "two")
    assert len(one) == len(two) > 5
    assert two == pytest.approx(one, rel=2e-5)
    assert len(list((tmp_path / "two").glob("*/manifest.json"))) == 1  # recorded once, by process 0
