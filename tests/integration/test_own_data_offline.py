"""Data of one's own without a model in reach: nothing stands in unasked, and what stands in is never forgotten."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from finetune30.modeling.names import STARTER_PACKAGE
from support.fork_server import Ended, ForkServer

pytestmark = pytest.mark.integration

QUICK = ("--training.max_steps", "2", "--training.device", "cpu", "--data.max_length", "16")
REPLACED = {"distilbert-base-uncased": "starter"}


@pytest.fixture(autouse=True)
def _starter() -> None:
    pytest.importorskip(STARTER_PACKAGE, reason="the starter model is not installed")


def save_films(folder: Path) -> Path:
    path = folder / "films.csv"
    rows = "".join(
        f"the film number {number} was {('fine', 'dull')[number % 2]},{number % 2}\n" for number in range(40)
    )
    path.write_text(f"text,label\n{rows}", encoding="utf-8")
    return path


def metrics_of(folder: Path, name: str) -> dict[str, Any]:
    (run,) = (folder / "results").glob(f"{name}_2*")
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return found


def test_own_data_end_without_a_model_and_the_remedy_trains_the_starter(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    path = save_films(tmp_path)

    def train(*flags: str) -> Ended:
        command = ("train", "--data.dataset_name", str(path), "--experiment_name", "own", *QUICK)
        return fork_server.run(*command, *flags, cwd=tmp_path)

    refused = train()
    assert refused.returncode == 1
    (flag,) = re.findall(r"(--model\.offline_fallback) starter", " ".join(refused.stderr.split()))
    (failed,) = (tmp_path / "results").glob("own_2*")
    failed.rename(tmp_path / "failed")
    done = train(flag, "starter")
    assert done.returncode == 0, done.stderr
    assert "instead of" in done.stdout
    metrics = metrics_of(tmp_path, "own")
    assert metrics["replaced"] == REPLACED
    assert metrics["replaced_settings"]["lora.target_modules"] == "all-linear"


def test_an_attempt_after_the_first_still_says_what_stands_in(fork_server: ForkServer, tmp_path: Path) -> None:
    """The record holds what could run, in which there is nothing left to replace."""
    flags = ("--experiment_name", "killed", *QUICK, "--training.save_steps", "1")
    killed = fork_server.run("train", *flags, cwd=tmp_path, FT30_FAILPOINT="result.before_staging:1")
    assert killed.returncode != 0
    resumed = fork_server.run("resume", "latest", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    metrics = metrics_of(tmp_path, "killed")
    assert metrics["replaced"] == {**REPLACED, "glue": "starter"}
    assert metrics["replaced_settings"]["data.train_samples"] is None
