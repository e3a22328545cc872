"""A folder in which `ft30` knows the toys, and a finished run of each."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import yaml

from support.fork_server import Ended, ForkServer
from support.tiny_models import save_wordpiece_tokenizer
from support.toys import ANSWERS, NEXT_TOKEN, ORDINAL

MARKS = {"awful": "1 poor", "fine": "2 fair", "great": "3 good"}
OPENINGS = ("the film was", "i hated the plot again", "it is the room", "we loved the staff and", "so the food broke")
ENDINGS = ("slow", "fast and clean", "dirty again", "very nice")
BASES = {ORDINAL: "classifier", ANSWERS: "classifier", NEXT_TOKEN: "language-model"}
ROWS = {ORDINAL: "rows.csv", ANSWERS: "answers.csv", NEXT_TOKEN: "rows.csv"}
#: A control character in every question, markup in every answer.
SOILED_PROMPT, SOILED_COMPLETION = "{}\u200b", "<p>{}</p>"


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


class ToyLab:
    """A folder with rows, base models and `ft30` that knows the toys."""

    def __init__(self, server: ForkServer, folder: Path, classifier: Path) -> None:
        self.server, self.folder = server, folder
        shutil.copytree(classifier, folder / BASES[ORDINAL])
        save_language_model(folder / BASES[NEXT_TOKEN])
        rows = [(f"{o} {m} {m} {e}", grade) for o in OPENINGS for e in ENDINGS for m, grade in MARKS.items()]
        with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("passage", "grade"), *rows])
        asked = [(SOILED_PROMPT.format(o), m, grade) for o in OPENINGS for m, grade in MARKS.items()]
        answers = [(o, SOILED_COMPLETION.format(f"{m} {m} {e}"), grade) for o, m, grade in asked for e in ENDINGS]
        with (folder / "answers.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("grade", "asked", "Answer"), *((g, o, a) for o, a, g in answers)])

    def run(self, *arguments: str, **environment: str) -> Ended:
        return self.server.run(*arguments, cwd=self.folder, **environment)

    def ft30(self, *arguments: str) -> str:
        ended = self.run(*arguments)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def configure(self, problem: str, name: str, *, dataset: str | None = None, **training: Any) -> str:
        tree = {
            "experiment_name": name,
            "model": {"name": BASES[problem], "num_labels": 3, "problem_type": problem},
            "lora": {"target_modules": "all-linear", "r": 8, "lora_dropout": 0.0},
            "data": {"dataset_name": dataset or ROWS[problem], "max_length": 24},
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
