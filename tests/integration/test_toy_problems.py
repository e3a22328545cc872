"""A problem is a folder: two that the product does not know are trained, resumed, asked, listed, compared and drawn."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from support.fork_server import Ended, ForkServer
from support.tiny_models import save_wordpiece_tokenizer
from support.toys import NEXT_TOKEN, ORDINAL, save_entry_points

pytestmark = pytest.mark.integration

MARKS = {"awful": "1 poor", "fine": "2 fair", "great": "3 good"}
OPENINGS = ("the film was", "i hated the plot again", "it is the room", "we loved the staff and", "so the food broke")
ENDINGS = ("slow", "fast and clean", "dirty again", "very nice")
BASES = {ORDINAL: "classifier", NEXT_TOKEN: "language-model"}


def save_language_model(folder: Path) -> None:
    """Write a random Llama whose words are told apart well enough for LoRA to learn what follows which."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=save_wordpiece_tokenizer(folder),
        pad_token_id=0,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=128,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        LlamaForCausalLM(config).save_pretrained(folder)


class Lab:
    """A folder with rows, base models and `ft30` that knows the toys."""

    def __init__(self, server: ForkServer, folder: Path) -> None:
        self.server, self.folder = server, folder

    def run(self, *arguments: str, **environment: str) -> Ended:
        return self.server.run(*arguments, cwd=self.folder, **environment)

    def ft30(self, *arguments: str) -> str:
        ended = self.run(*arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def configure(self, problem: str, name: str, **training: Any) -> str:
        tree = {
            "experiment_name": name,
            "model": {"name": BASES[problem], "num_labels": 3, "problem_type": problem},
            "lora": {"target_modules": "all-linear", "r": 8, "lora_dropout": 0.0},
            "data": {"dataset_name": "rows.csv", "max_length": 24},
            "training": {
                "device": "cpu",
                "precision": "fp32",
                "per_device_train_batch_size": 8,
                "gradient_accumulation_steps": 2,
                "num_train_epochs": 12,
                "learning_rate": 0.01,
                **training,
            },
        }
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
        return f"{name}.yaml"

    def train(self, problem: str, name: str, **training: Any) -> Path:
        self.ft30("train", "--config", self.configure(problem, name, **training))
        return self.run_folder(name)

    def run_folder(self, name: str) -> Path:
        (found,) = (self.folder / "results").glob(f"{name}_2*")
        return found


@pytest.fixture(scope="module")
def lab(tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("toys")
    with ForkServer(tmp_path_factory.mktemp("toys-server"), save_entry_points(folder / "installed")) as server:
        shutil.copytree(tiny_model(), folder / BASES[ORDINAL])
        save_language_model(folder / BASES[NEXT_TOKEN])
        rows = [(f"{o} {m} {m} {e}", grade) for o in OPENINGS for e in ENDINGS for m, grade in MARKS.items()]
        with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("passage", "grade"), *rows])
        found = Lab(server, folder)
        for problem in BASES:
            found.train(problem, problem)
        yield found


@pytest.fixture(params=list(BASES))
def problem(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def metrics_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return found


def test_both_learn(lab: Lab) -> None:
    ordinal, text = (metrics_of(lab.run_folder(problem)) for problem in (ORDINAL, NEXT_TOKEN))
    assert ordinal["eval_steps_off"] < 0.3
    assert ordinal["targets"] == {"label_names": sorted(MARKS.values()), "thresholds": 2}
    assert text["eval_perplexity"] < 4  # a few words follow each word
    assert ordinal["engine"] == "packed"  # any loss over a head's outputs is differentiated there


def test_the_score_is_the_problems_own(lab: Lab, problem: str) -> None:
    metrics = metrics_of(lab.run_folder(problem))
    assert metrics["score_name"] in ("eval_steps_off", "eval_perplexity")
    assert metrics["score"] == metrics[metrics["score_name"]]
    assert metrics["score_greater_is_better"] is False


def test_the_divisor_of_a_step_is_the_weight_of_all_its_micro_batches(lab: Lab) -> None:
    folder = lab.train(NEXT_TOKEN, "whole", max_steps=1, per_device_train_batch_size=16, gradient_accumulation_steps=1)
    cut = lab.train(NEXT_TOKEN, "cut", max_steps=1, per_device_train_batch_size=4, gradient_accumulation_steps=4)
    first, second = (metrics_of(run)["train_loss"] for run in (folder, cut))
    assert first == pytest.approx(second, rel=1e-6)


def test_a_killed_run_resumes_to_the_same_weights(lab: Lab, problem: str) -> None:
    expected = json.loads((lab.run_folder(problem) / "manifest.json").read_text())["digests"]
    name = f"{problem}-killed"
    config = lab.configure(problem, name, save_steps=2)
    ended = lab.run("train", "--config", config, FT30_FAILPOINT="training.after_step:5")
    assert ended.returncode < 0
    lab.ft30("resume", lab.run_folder(name).name)
    assert json.loads((lab.run_folder(name) / "manifest.json").read_text())["digests"] == expected


def test_what_is_kept_of_an_evaluation_is_the_problems_choice(lab: Lab) -> None:
    grades = pq.read_table(lab.run_folder(ORDINAL) / "predictions.parquet").to_pylist()
    assert {row["label"] for row in grades} <= set(MARKS.values())
    assert all(isinstance(row["outcome"], float) for row in grades)
    assert pq.read_table(lab.run_folder(NEXT_TOKEN) / "predictions.parquet").column_names == ["row_id"]


def test_questions_are_answered(lab: Lab) -> None:
    (answer,) = lab.ft30("predict", ORDINAL, "the film was great great slow", "--json").splitlines()
    assert json.loads(answer) == {"text": "the film was great great slow", "grade": "3 good"}
    (line,) = lab.ft30("predict", NEXT_TOKEN, "we loved the").splitlines()
    continuation, text = line.split("\t")
    assert text == "we loved the"
    assert continuation


def test_a_file_of_questions_is_read_by_the_problems_own_columns(lab: Lab) -> None:
    (lab.folder / "asked.csv").write_text("number,passage,other\n1,it was awful awful,x\n", encoding="utf-8")
    (answer,) = lab.ft30("predict", ORDINAL, "--file", "asked.csv", "--json").splitlines()
    assert json.loads(answer)["grade"] == "1 poor"
    lab.ft30("predict", NEXT_TOKEN, "--file", "asked.csv", "--output", "answers.csv")
    with (lab.folder / "answers.csv").open(encoding="utf-8", newline="") as stream:
        assert next(csv.DictReader(stream)).keys() == {"row_id", "text", "text_pair", "continuation"}


def test_rows_are_a_version_of_the_problems_columns(lab: Lab) -> None:
    digest = metrics_of(lab.run_folder(NEXT_TOKEN))["dataset_digest"]
    shown = json.loads(lab.ft30("data", "versions", "show", digest, "--json"))
    assert [column["name"] for column in shown["schema"]] == ["text", "origin"]
    assert shown["problem_type"] == NEXT_TOKEN
    lab.ft30("data", "versions", "verify", digest)


def test_a_problem_that_is_not_installed_is_named(lab: Lab, fork_server: ForkServer) -> None:
    ended = fork_server.run("predict", ORDINAL, "some text", cwd=lab.folder)
    assert ended.returncode == 2
    assert f"there is no problem '{ORDINAL}'" in ended.stderr
    assert "Traceback" not in ended.stderr
