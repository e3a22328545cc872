"""A model that has learnt one row by heart gives its answer greedily and ends by itself, on each way of training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune30.config.loading import validate_tree
from finetune30.data.batching import collate
from finetune30.modeling.base import find_base
from finetune30.modeling.conversations.generation import Sampling, generate_in_batches, stop_tokens
from finetune30.modeling.devices import choose_placement
from finetune30.problems.causal_lm.conclusion import conclude
from finetune30.problems.trainables import load_trainable
from finetune30.training.paths import build_encoder, build_engine
from support.chat_models import CHATML, build_tiny_chat

#: Way of training -> path, and whether rows are laid behind each other.
WAYS = {"own": ("packed", False), "padded": ("general", False), "packed": ("general", True)}
ROW = {
    "messages": [
        {"role": "user", "content": "Where is the shop?"},
        {"role": "assistant", "content": "It is in Mill Street."},
    ]
}
OTHER = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I am Tilly."}]}
_STEPS, _RATE = 40, 0.01


def built(folder: Path, template: str, path: str) -> tuple[Any, Any, Any]:
    """Return engine, problem, and the encoded row; nothing is trained yet."""
    config = validate_tree(
        {
            "model": {"name": str(build_base(folder, template)), "problem_type": "causal_lm"},
            "lora": {"r": 8, "lora_dropout": 0.0, "target_modules": "all-linear"},
            "training": {"precision": "fp32", "device": "cpu"},
            "chat": {"eval_generations": 2, "max_new_tokens": 40, "general_rows": 0},
        }
    )
    source = find_base(config.model)
    problem: Any = load_trainable("causal_lm", {}).with_base(source, config, lambda _: None)
    encoder: Any = build_encoder(path, source, 64, problem)
    engine: Any = build_engine(path, config, source, problem, choose_placement("cpu", "fp32"))
    return engine, problem, encoder.encode_rows([json.dumps(ROW)], 64)


def build_base(folder: Path, template: str) -> Path:
    """Return a tiny chat model that tells tokens apart and can be sure of one: random weights are too small for that.

    Its end mark pads too, and what pads begins with an embedding of zeros, which a tied head could never answer.
    """
    import torch
    from safetensors.torch import load_file, save_file

    path = build_tiny_chat(folder / "base", template, width=64) / "model.safetensors"
    weights = load_file(path)
    embeddings = weights["model.embed_tokens.weight"]
    lost = (embeddings == 0).all(dim=1)
    embeddings[lost] = 0.02 * torch.randn(int(lost.sum()), 64, generator=torch.Generator().manual_seed(0))
    save_file(
        {name: 10 * weight if weight.ndim == 2 else weight for name, weight in weights.items()}, path, {"format": "pt"}
    )
    return path.parent


def learn_by_heart(engine: Any, problem: Any, split: Any) -> None:
    rows = np.arange(1)
    for _ in range(_STEPS):
        engine.accumulate(collate(split, rows, engine.pad_token_id), 1 / problem.weight(split, rows))
        engine.step(_RATE)


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_learnt_by_heart_is_given_and_ends_by_itself(tmp_path: Path, way: str) -> None:
    path, packs = WAYS[way]
    engine, problem, split = built(tmp_path, CHATML, path)
    engine.packs = packs
    learn_by_heart(engine, problem, split)
    prompt = problem.encoder.ask(ROW["messages"][:1])
    with engine.lend() as model:
        ends = stop_tokens(model, problem.encoder.end_token_id)
        (answer,) = generate_in_batches(model, [prompt], ends, Sampling(max_new_tokens=40), 1)
    assert answer.reason == "stop"
    assert problem.encoder.tokenizer.decode(answer.ids, skip_special_tokens=True) == "It is in Mill Street."


def test_what_the_base_model_knows_already_teaches_nothing_new(tmp_path: Path) -> None:
    """The row that was learnt by heart is told as memorised, and as known before only once the base knows it."""
    engine, problem, split = built(tmp_path, CHATML, "packed")
    learn_by_heart(engine, problem, split)
    both = problem.encoder.encode_rows([json.dumps(row) for row in (ROW, OTHER)], 64)
    found = conclude(problem, engine, split, both, 2).metrics
    assert (found["train_memorised"], found["train_nothing_new"]) == (1.0, 0.0)
    assert found["asked_rows"] == 2
    engine.lend_base = engine.lend  # a base model that has learnt the row already
    assert conclude(problem, engine, both, both, 2).metrics["train_nothing_new"] == 0.5
