"""The same training of a language model here and by TRL's SFTTrainer: losses of every step, and which tokens have them.

    python3 -m venv TRL && TRL/bin/pip install -c requirements.txt torch trl==1.16.0 peft datasets
    python -m benchmarks.parity_sft --peer TRL/bin/python [--base FOLDER] [--conversations FILE] [--steps 50]

TRL lives in an environment of its own. It gets the adapter that the training here starts from, and rows as they were
encoded here (input ids and labels) in the same order: float32, no dropout, a constant rate. Then its own labels are
made from the same conversations, where the base's chat template marks what an assistant says (`{% generation %}`), and
compared with ours, token by token. Nothing is sent anywhere: the hub is switched off for both.

Exit code 0: the first step's losses agree within 1e-4 (relative), all others within 1e-3, and the labels are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finetune30.config import STARTER_CHAT
from finetune30.config.loading import validate_tree
from finetune30.data.encoding import IGNORED, EncodedSplit

FIRST_STEP, CURVE = 1e-4, 1e-3
BATCH_SIZE = 4
LORA = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "target_modules": "all-linear"}
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "PYTHONWARNINGS": "ignore",
}


def main() -> None:
    """Train here and there, compare, and leave with 1 where the two are not the same."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity_sft", description=__doc__)
    parser.add_argument("--peer", type=Path, required=True, help="the Python of an environment with TRL")
    parser.add_argument("--base", default=STARTER_CHAT, help="folder of a chat model")
    parser.add_argument("--conversations", default=STARTER_CHAT, help="a file of conversations")
    parser.add_argument("--engine", choices=("general", "packed"), default="general")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="parity-") as scratch:
        folder = Path(scratch)
        ours = _train_here(options, folder)
        theirs = _ask_peer(options.peer, folder)
    agree = _compare_losses(ours, theirs["losses"])
    agree &= _compare_labels(theirs)
    sys.exit(0 if agree else 1)


def _train_here(options: argparse.Namespace, folder: Path) -> list[float]:
    """Train, and write what the peer needs; return the loss of every step, a supervised token."""
    from finetune30.data.batching import collate
    from finetune30.data.prepare import prepare_data
    from finetune30.modeling.base import find_base, load_tokenizer
    from finetune30.modeling.devices import Placement
    from finetune30.problems.of_rows import problem_of_rows
    from finetune30.problems.trainables import load_trainable
    from finetune30.settings import load_settings
    from finetune30.training.paths import build_encoder, build_engine

    data = {"dataset_name": options.conversations, "train_samples": None, "eval_samples": None, "max_length": 512}
    training = {"precision": "fp32", "device": "cpu", "max_grad_norm": 1.0}
    model = {"name": options.base, "problem_type": "causal_lm"}
    config = validate_tree({"model": model, "data": data, "lora": LORA, "training": training})
    data_folder = load_settings().data_folder
    rows = prepare_data(
        config.data,
        problem=problem_of_rows("causal_lm", options.conversations, data_folder),
        num_labels=2,
        seed=0,
        log=lambda _: None,
        data_folder=data_folder,
    ).train
    source = find_base(config.model, data_folder=data_folder)
    problem = load_trainable("causal_lm", {}).with_base(source, config, lambda _: None)
    encoder: Any = build_encoder("general", source, config.data.max_length, problem)
    split = encoder.encode_rows(rows["conversation"], config.data.max_length)
    engine: Any = build_engine(options.engine, config, source, problem, Placement("cpu", "fp32", "parity"))
    engine.save_adapter(folder / "adapter")
    load_tokenizer(source).save_pretrained(str(folder / "tokenizer"))
    order = [number % len(split) for number in range(options.steps * BATCH_SIZE)]
    conversations = [json.loads(row) for row in rows["conversation"]]
    _write_for_peer(folder, str(source.folder), split, order, conversations, options.learning_rate)
    losses = []
    for step in range(options.steps):
        chosen = np.asarray(order[step * BATCH_SIZE : (step + 1) * BATCH_SIZE])
        weight = problem.weight(split, chosen)
        losses.append(float(engine.accumulate(collate(split, chosen, engine.pad_token_id), 1.0 / weight)) / weight)
        engine.step(options.learning_rate)
    return losses


def _write_for_peer(
    folder: Path,
    base: str,
    split: EncodedSplit,
    order: Sequence[int],
    conversations: list[dict[str, Any]],
    learning_rate: float,
) -> None:
    rows = [_labels_of(split, row) for row in range(len(split))]
    task = {
        "base": base,
        "adapter": str(folder / "adapter"),
        "tokenizer": str(folder / "tokenizer"),
        "rows": [rows[row] for row in order],
        "batch_size": BATCH_SIZE,
        "learning_rate": learning_rate,
        "conversations": [tree["messages"] for tree in conversations if "messages" in tree],
        "encoded": [row for row, tree in zip(rows, conversations, strict=True) if "messages" in tree],
    }
    (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")


def _labels_of(split: EncodedSplit, row: int) -> dict[str, list[int]]:
    """Return a row as transformers wants it: the label of a token is itself, -100 where it carries no loss."""
    start, stop = int(split.offsets[row]), int(split.offsets[row + 1])
    ids, following = split.tokens[start:stop], split.targets[start:stop]
    labels = np.full(len(ids), -100, dtype=np.int64)
    asked = np.flatnonzero(following != IGNORED)
    labels[asked + 1] = following[asked]
    return {"input_ids": ids.tolist(), "labels": labels.tolist()}


def _ask_peer(python: Path, folder: Path) -> dict[str, Any]:
    script = Path(__file__).with_name("with_trl.py")
    subprocess.run(
        [str(python), str(script), str(folder / "task.json"), str(folder / "answer.json")],
        cwd=folder,
        env={**os.environ, **_OFFLINE},
        stdout=subprocess.DEVNULL,  # its progress
        check=True,
    )
    answer: dict[str, Any] = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    return answer


def _compare_losses(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    if len(ours) != len(theirs):
        print(f"steps: {len(ours)} here, {len(theirs)} by TRL")
        return False
    apart = np.abs(np.asarray(ours) - np.asarray(theirs))
    first = apart[0] / abs(theirs[0])
    print(f"first step: {ours[0]:.6f} here, {theirs[0]:.6f} by TRL, {first:.1e} apart (at most {FIRST_STEP:g})")
    print(f"{len(ours)} steps, to {ours[-1]:.6f} and {theirs[-1]:.6f}: at most {apart.max():.1e} apart (of {CURVE:g})")
    return bool(first <= FIRST_STEP and apart.max() <= CURVE)


def _compare_labels(theirs: dict[str, Any]) -> bool:
    if theirs["labels"] is None:
        print(f"labels: not compared: {theirs['why']}")
        return True
    wrong = [number for number, same in enumerate(theirs["labels"]) if not same]
    print(f"labels: {len(theirs['labels'])} conversations, {len(wrong)} of them otherwise {wrong[:5] or ''}")
    return not wrong


if __name__ == "__main__":
    main()
