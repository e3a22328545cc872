"""The memory of an evaluation and a step does not grow with rows times vocabulary."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.chat_models import build_tiny_chat

#: 2,000 tokens under a vocabulary of 250,000: their logits alone would take 2 GB, and as much again for the gradient.
SCRIPT = """
import resource, torch
from torch import nn
from finetune30.problems.causal_lm.token_loss import LogitsHead, token_losses

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

torch.set_num_threads(2)
head = LogitsHead(nn.Linear(8, 250_000, bias=False).requires_grad_(False))
hidden = torch.randn(4, 500, 8, requires_grad=True)
targets = torch.randint(0, 250_000, (4, 500))
token_losses(head, hidden[:, :20], targets[:, :20])[..., 0].sum().backward()
before = peak()
token_losses(head, hidden, targets)[..., 0].sum().backward()
print(peak() - before)
"""


#: 4,000 tokens in batches of 32 rows under a vocabulary of 50,000: their logits would take 800 MB. A step and an
#: evaluation, on a path that the command line names.
ENGINE_SCRIPT = """
import json, resource, sys
import numpy as np
from finetune30.config.loading import validate_tree
from finetune30.data.batching import collate
from finetune30.modeling.base import find_base
from finetune30.modeling.devices import choose_placement
from finetune30.problems.trainables import load_trainable
from finetune30.training.paths import build_encoder, build_engine

base, path = sys.argv[1:]
config = validate_tree(
    {"model": {"name": base, "problem_type": "causal_lm"}, "lora": {"r": 2, "lora_dropout": 0.0}}
    | {"training": {"precision": "fp32", "device": "cpu"}}
)
source = find_base(config.model)
problem = load_trainable("causal_lm", {}).with_base(source, config, lambda _: None)
encoder = build_encoder(path, source, 256, problem)
engine = build_engine(path, config, source, problem, choose_placement("cpu", "fp32"))

def rows_of(count, words):
    row = {"prompt": "we", "completion": " tea" * words}
    return encoder.encode_rows([json.dumps(row)] * count, 1000)

def work(split):
    rows = np.arange(len(split))
    engine.accumulate(collate(split, rows, engine.pad_token_id), 1 / problem.weight(split, rows))
    engine.step(0.01)
    return problem.evaluate(engine, split, len(split)).metrics["eval_supervised_tokens"]

work(rows_of(2, 20))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tokens = work(rows_of(32, 124))
print(tokens, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("path", ["general", "packed"])
def test_a_step_and_an_evaluation_keep_no_logits_of_all_tokens(tmp_path: Path, path: str) -> None:
    base = build_wide(tmp_path / "base", 50_000)
    command = [sys.executable, "-c", ENGINE_SCRIPT, str(base), path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    tokens, more_kilobytes = (int(word) for word in done.stdout.split()[-2:])
    assert tokens == 32 * 125
    assert more_kilobytes < 300_000


def build_wide(folder: Path, vocabulary: int) -> Path:
    """Write a tiny chat model with embeddings for more tokens than its tokenizer has."""
    from transformers import AutoModelForCausalLM

    build_tiny_chat(folder, width=64)
    model = AutoModelForCausalLM.from_pretrained(str(folder))
    model.resize_token_embeddings(vocabulary, mean_resizing=False)
    model.save_pretrained(str(folder))
    return folder


def test_many_tokens_under_a_large_vocabulary_take_no_more_than_a_few() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    more_kilobytes = int(done.stdout)
    assert more_kilobytes < 500_000
