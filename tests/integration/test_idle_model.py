"""The process that holds a model for the API goes when nobody asks, and comes back with the next question."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from finetune30.service.models.model_process import ModelProcesses
from finetune30.settings import load_settings
from finetune30.store import RunFilter, open_store
from support.patience import wait_until
from support.rows import write_reviews

pytestmark = pytest.mark.integration

TEXTS = ["a splendid film", "a dreadful film"]


@pytest.fixture
def run(tiny_model, tmp_path):
    """A finished run of a tiny model."""
    flags = {
        "--model": tiny_model("distilbert"),
        "--dataset": write_reviews(tmp_path / "reviews.csv", 40),
        "--lora.target_modules": "auto",
        "--data.max_length": 32,
        "--epochs": 1,
    }
    command = [sys.executable, "-m", "finetune30", "train", *(str(part) for pair in flags.items() for part in pair)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    store = open_store(load_settings().resolved_database_url)
    try:
        (found,) = store.find(RunFilter())
    finally:
        store.close()
    return found


@pytest.fixture
def models():
    held = ModelProcesses(idle_seconds=3)
    yield held
    held.close()


def find_process(run_id):
    """Return the one process that answers for a run."""
    (found,) = [child.pid for child in psutil.Process().children() if child.cmdline()[-2:] == ["answer", run_id]]
    return found


def test_idle_model_is_let_go_and_the_next_question_starts_another(run, models):
    first = models.ask(run, TEXTS, None)
    process = find_process(run.id)
    assert models.ask(run, TEXTS, None) == first
    assert find_process(run.id) == process  # asked in time: the same
    wait_until(lambda: not psutil.pid_exists(process), 60, "the idle process is gone")
    assert models.ask(run, TEXTS, None) == first
    assert find_process(run.id) != process
