"""A lab for language models: a tiny chat model, conversations, and a training that asks for everything at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from support.chat_models import build_tiny_chat
from support.fork_server import Ended, ForkServer

QUESTIONS = ("When do you open?", "Where is the shop?", "你們賣茶嗎？", "Do you mend bicycles?", "Who are you?")
ANSWERS = ("We open at nine.", "It is in Mill Street.", "有，我們賣茶。", "Yes, we mend bicycles.", "I am Tilly.")
#: Dropout, accumulation that does not divide the rows, evaluation within epochs, checkpoints more often than epochs.
CONFIG = {
    "experiment_name": "talk",
    "model": {"name": "base", "problem_type": "causal_lm"},
    "lora": {"r": 2, "lora_dropout": 0.1},
    "data": {"dataset_name": "train.jsonl", "eval_file": "eval.jsonl", "max_length": 64},
    "training": {
        "device": "cpu",
        "precision": "fp32",
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 3,
        "num_train_epochs": 2,
        "learning_rate": 0.01,
        "eval_strategy": "steps",
        "eval_steps": 3,
        "logging_steps": 2,
        "save_steps": 2,
    },
    "chat": {"eval_generations": 3, "max_new_tokens": 12, "general_rows": 4},
}


class TalkLab:
    """A folder with a tiny chat model, conversations and a configuration; `variables` are those of its commands."""

    def __init__(self, server: ForkServer, folder: Path, **variables: str) -> None:
        self.server, self.folder, self.variables = server, folder, variables
        write_talk(folder)

    def ft30(self, *arguments: str, results: str = "results", **environment: str) -> Ended:
        variables = {**self.variables, "FT30_RESULTS_FOLDER": results, **environment}
        return self.server.run(*arguments, cwd=self.folder, **variables)

    def chat(self, text: str, *options: str, results: str = "results") -> subprocess.CompletedProcess[str]:
        """Talk with the newest run's model; `text` is what somebody types."""
        return subprocess.run(
            [sys.executable, "-m", "finetune30", "chat", "latest", "--device", "cpu", *options],
            cwd=self.folder,
            env={**os.environ, **self.variables, "FT30_RESULTS_FOLDER": results},
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )

    def train(self, results: str, changes: dict[str, Any] | None = None, **environment: str) -> Ended:
        path = write_config(self.folder / f"{results}.yaml", changes or {})
        return self.ft30("train", "--config", path.name, results=results, **environment)

    def run_folder(self, results: str) -> Path:
        """Return the folder of the run that was trained there; replays have an origin."""
        (found,) = [path for path in (self.folder / results).glob("*/") if not (path / "origin.json").is_file()]
        return found

    def metrics(self, results: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.run_folder(results) / "metrics.json").read_text(encoding="utf-8"))
        return found


def write_talk(folder: Path) -> None:
    """Write a tiny chat model, conversations to train on, and some to evaluate on."""
    folder.mkdir(parents=True, exist_ok=True)
    build_tiny_chat(folder / "base", width=64)  # heads of a size that the compiled kernels take
    write_conversations(folder / "train.jsonl", 20)
    write_conversations(folder / "eval.jsonl", 5, first=100)


def write_config(path: Path, changes: Mapping[str, Any]) -> Path:
    """Write the configuration with other values at dotted keys; return its path."""
    tree: dict[str, Any] = json.loads(json.dumps(CONFIG))
    for key, value in changes.items():
        section, name = key.split(".")
        tree[section][name] = value
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    return path


def write_conversations(path: Path, count: int, first: int = 0, tail: str = "") -> None:
    lines = []
    for number in range(first, first + count):
        turns = [QUESTIONS[number % 5] + f" {number}{tail}", ANSWERS[number % 5]]
        if number % 4 == 3:
            turns += ["Thank you.", f"You are welcome, number {number}."]
        messages = [
            {"role": ("user", "assistant")[place % 2], "content": content} for place, content in enumerate(turns)
        ]
        expected = {"expected": ["nine", "9"]} if number % 5 == 0 else {}
        lines.append(json.dumps({"messages": messages, **expected}, ensure_ascii=False))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
