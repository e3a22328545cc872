"""Searches over what is judged by a loss, through to the verdict on evaluation rows and on test rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from support.fork_server import ForkServer
from support.kinds import REGRESSION, KindsLab
from support.talk_lab import TalkLab, write_conversations

pytestmark = pytest.mark.integration

#: A rate of which nothing is learnt in so few steps, and one of which much is.
STILL, QUICK = 1e-7, 0.02
CONFIG: dict[str, Any] = {
    "experiment_name": "sought",
    "lora": {"target_modules": "auto", "r": 4, "lora_dropout": 0.0},
    "data": {"max_length": 64, "split_seed": 3},
    "training": {"device": "cpu", "precision": "fp32", "max_steps": 30, "learning_rate": STILL},
    "search": {
        **{"trials": 2, "sampler": "grid", "confirm": {"seeds": 2}},
        "parameters": {"training.learning_rate": {"values": [QUICK]}},
    },
}


def save_config(folder: Path, sections: dict[str, Any]) -> None:
    tree = {**CONFIG, **{name: {**CONFIG.get(name, {}), **values} for name, values in sections.items()}}
    (folder / "sought.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")


@pytest.fixture(scope="module", params=["regression", "causal_lm"])
def ended(
    request: pytest.FixtureRequest, fork_server: ForkServer, tiny_model: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, dict[str, Any]]:
    """What is learnt, the folder of the runs, and the search as it ended."""
    folder, kind = tmp_path_factory.mktemp(request.param), str(request.param)
    lab: KindsLab | TalkLab
    if kind == "regression":
        lab = KindsLab.make(fork_server, folder, tiny_model())
        files = {"dataset_name": f"{REGRESSION.name}-train.csv", "eval_file": f"{REGRESSION.name}-eval.csv"}
        model = {"name": "base", "dropout": 0.0, **REGRESSION.config}
        rows = [(f"so {text}", label) for text, label in REGRESSION.rows()[::6]]
        with (folder / "test.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("text", "label"), *rows])
        save_config(folder, {"model": model, "data": {**files, "test_file": "test.csv"}})
    else:
        lab = TalkLab(fork_server, folder)
        write_conversations(folder / "test.jsonl", 8, first=200)
        files = {"dataset_name": "train.jsonl", "eval_file": "eval.jsonl", "test_file": "test.jsonl"}
        model = {"name": "base", "problem_type": "causal_lm"}
        save_config(folder, {"model": model, "data": files, "chat": {"eval_generations": 0, "general_rows": 0}})
    started = lab.ft30("search", "start", "sought.yaml", "--here")
    assert started.returncode == 0, started.stderr
    return kind, folder / "results", json.loads(lab.ft30("search", "show", "sought", "--json").stdout)


def predictions_of(results: Path, name: str) -> pl.DataFrame:
    (folder,) = results.glob(f"{name}_2*")
    return pl.read_parquet(folder / "predictions.parquet")


def mean_loss(results: Path, trial: int, kind: str) -> float:
    """Return the mean loss of the repeats of a trial, told from labels and predictions where there are such."""
    frames = [predictions_of(results, f"sought-trial{trial}-seed{seed}") for seed in (43, 44)]
    loss = (pl.col("label") - pl.col("prediction")) ** 2 if kind == "regression" else pl.col("outcome")
    return sum(frame.select(loss.cast(pl.Float64).mean()).item() for frame in frames) / 2


def test_the_least_loss_is_best_and_its_gain_is_that_of_the_rows(ended: tuple[str, Path, dict[str, Any]]) -> None:
    kind, results, shown = ended
    assert (shown["status"], shown["counts"], shown["best"]["number"]) == ("SUCCEEDED", {"DONE": 2}, 1)
    values = [trial["value"] for trial in shown["trials"]]
    assert (shown["greater_is_better"], values[1] < values[0]) == (False, True)
    said = shown["end"]["verdict"]
    assert said["measure"] == ("squared_error" if kind == "regression" else "loss")
    gain = mean_loss(results, 0, kind) - mean_loss(results, 1, kind)
    assert said["gain"] == pytest.approx(gain, rel=1e-5)
    assert gain > 0
    assert said["seeds"] == 2
    assert said["rows"] == predictions_of(results, "sought-trial0-seed43").height
    assert said["as_points"] is False


def test_the_test_rows_are_opened_once_and_tell_their_own(ended: tuple[str, Path, dict[str, Any]]) -> None:
    kind, _results, shown = ended
    (look,) = shown["end"]["tests"]
    assert (look["count"], look["error"], look["goes_on"]) == (1, None, False)
    found = look["result"]
    assert found["rows"] == (10 if kind == "regression" else 8)
    assert found["gain"] > 0
    assert found["message"].splitlines()[0].startswith(("better than the default", "not enough"))
    assert found["measure"] == shown["end"]["verdict"]["measure"]
