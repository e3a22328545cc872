"""Fine-tuning a language model of SmolLM2-135M's size on the CPU: the usual script, a tuned loop, and both paths here.

    OMP_NUM_THREADS=1 BENCHMARK_CLOCK=cpu python -m benchmarks.language_models --precision fp32 --rounds 5

Every contender has a process of its own; they take turns, a few steps each, so that whatever else the machine does hits
all of them, and ratios are medians over the rounds. Weights and tokens are random, which does not change the speed;
rows are as long as instructions with answers are (139 tokens in the mean, at most 512), of which 46 % are supervised.

usual    Trainer and PEFT, rows padded to 512 tokens, logits of all of them; bf16 is autocast
loop     a loop over PEFT: rows padded to the longest of a batch, logits of supervised tokens only; bf16 throughout
general  this project's path over transformers
packed   this project's own
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contender import CLOCK
from benchmarks.turns import build_parser, take_turns

CONTENDERS = ("usual", "loop", "general", "packed")
#: SmolLM2-135M's sizes.
SIZES: dict[str, Any] = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
    "pad_token_id": 2,
}
LORA: dict[str, Any] = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": "all-linear"}
LONGEST, SUPERVISED, BATCH_SIZE, LEARNING_RATE = 512, 0.46, 4, 2e-4
#: Takes a step on (ids, targets, lengths), where targets are those of the next token.
Step = Callable[[Any], None]


def main() -> None:
    """Measure the contenders in turns and print a table, or be one of them."""
    parser = build_parser("benchmarks.language_models", __doc__, CONTENDERS, rounds=5)
    parser.add_argument("--steps", type=int, default=2, help="steps of a turn")
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    options = parser.parse_args()
    if options.be:
        _serve(options.be, options.precision, options.base)
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        base = options.base or build_base(Path(scratch) / "base")
        words = ("--precision", options.precision, "--base", str(base))
        rounds = [f"{number * options.steps} {options.steps}" for number in range(options.rounds)]
        found = take_turns("benchmarks.language_models", words, options.contenders.split(","), ["0 1", *rounds])
    first = next(iter(found))
    print(f"| contender | tokens/s | × {first} (lowest to highest) | peak RSS, MB |\n|---|---|---|---|")
    for name, turns in found.items():
        speeds = [turn["tokens"] / turn["seconds"] for turn in turns]
        ratios = [
            other["seconds"] / turn["seconds"] * turn["tokens"] / other["tokens"]
            for turn, other in zip(turns, found[first], strict=True)
        ]
        print(
            f"| {name} {options.precision} | {statistics.median(speeds):.0f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) | {turns[-1]['rss_mb']:.0f} |"
        )


def _serve(name: str, precision: str, base: Path) -> None:
    """Answer lines of `first step, number of steps` with seconds, tokens and memory, one JSON line each."""
    answers, sys.stdout = sys.stdout, sys.stderr  # Trainer prints
    build: dict[str, Callable[[], Step]] = {
        "usual": lambda: _usual(precision, base),
        "loop": lambda: _loop(precision, base),
        "general": lambda: _ours("general", precision, base),
        "packed": lambda: _ours("packed", precision, base),
    }
    step = build[name]()
    for line in sys.stdin:
        first, count = map(int, line.split())
        batches = [draw_batch(number) for number in range(first, first + count)]
        started = CLOCK()
        for batch in batches:
            step(batch)
        seconds = CLOCK() - started
        tokens = sum(int(batch.lengths.sum()) for batch in batches)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "tokens": tokens, "rss_mb": peak}), file=answers, flush=True)


def draw_batch(number: int) -> Any:
    """Return the batch of a step: rows, longest first, whose last tokens are supervised."""
    from finetune30.data.batching import Batch
    from finetune30.data.encoding import IGNORED

    draws = np.random.default_rng(number)
    lengths = np.clip(draws.lognormal(4.75, 0.6, BATCH_SIZE).astype(np.int64), 16, LONGEST)
    lengths[::-1].sort()
    places = np.arange(lengths.max())[None, :]
    inside = places < lengths[:, None]
    ids = np.where(inside, draws.integers(3, SIZES["vocab_size"], inside.shape), SIZES["pad_token_id"])
    asked = (
        inside & (places >= ((1 - SUPERVISED) * lengths).astype(np.int64)[:, None]) & (places < lengths[:, None] - 1)
    )
    targets = np.where(asked, np.roll(ids, -1, axis=1), IGNORED)
    return Batch(np.arange(BATCH_SIZE), ids, inside.astype(np.int64), None, targets, lengths)


def build_engine(path: str, precision: str, base: Path) -> Any:
    """Build a path's engine as the product does."""
    from finetune30.config import ExperimentConfig
    from finetune30.modeling.base import find_base
    from finetune30.modeling.devices import Placement
    from finetune30.problems.trainables import load_trainable
    from finetune30.training import paths

    config = ExperimentConfig.model_validate(
        {
            "model": {"name": str(base), "problem_type": "causal_lm"},
            "lora": LORA,
            "data": {"max_length": LONGEST},
            "training": {"learning_rate": LEARNING_RATE},
        }
    )
    placement = Placement("cpu", precision, "benchmark")
    return paths.build_engine(path, config, find_base(config.model), load_trainable("causal_lm", {}), placement)


def _ours(path: str, precision: str, base: Path) -> Step:
    engine = build_engine(path, precision, base)

    def step(batch: Any) -> None:
        engine.accumulate(batch, 1.0 / int((batch.targets >= 0).sum()))
        float(engine.step(LEARNING_RATE))

    return step


def load_adapted(precision: str, base: Path) -> Any:
    """Load PEFT's model, LoRA on every linear layer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **LORA))


def _loop(precision: str, base: Path) -> Step:
    import torch

    model = load_adapted(precision, base)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, fused=True)
    inner = model.get_base_model()

    def step(batch: Any) -> None:
        ids, mask, targets = (torch.from_numpy(part) for part in (batch.input_ids, batch.attention_mask, batch.targets))
        asked = targets >= 0
        hidden = inner.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        logits = inner.lm_head(hidden[asked]).float()
        torch.nn.functional.cross_entropy(logits, targets[asked]).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _usual(precision: str, base: Path) -> Step:
    import torch
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        tempfile.mkdtemp(prefix="benchmark-"),
        per_device_train_batch_size=BATCH_SIZE,
        max_steps=1,
        bf16=precision == "bf16",
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
        learning_rate=LEARNING_RATE,
    )
    model = load_adapted("fp32", base)

    def padded(part: Any, filler: int) -> torch.Tensor:
        rows = np.full((BATCH_SIZE, LONGEST), filler, dtype=np.int64)
        rows[:, : part.shape[1]] = part
        return torch.from_numpy(rows)

    def step(batch: Any) -> None:
        labels = np.where(batch.targets >= 0, batch.targets, -100)
        labels = np.concatenate([np.full((BATCH_SIZE, 1), -100), labels[:, :-1]], axis=1)  # Trainer shifts them back
        rows = {
            "input_ids": padded(batch.input_ids, SIZES["pad_token_id"]),
            "attention_mask": padded(batch.attention_mask, 0),
            "labels": padded(labels, -100),
        }
        examples: Any = [{name: part[row] for name, part in rows.items()} for row in range(BATCH_SIZE)]
        Trainer(model, arguments, train_dataset=examples).train()

    return step


def build_base(folder: Path) -> Path:
    """Write a model with random weights, and a tokenizer; return the folder."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(str(folder))
    special = {"unk_token": "<unk>", "pad_token": "b"}
    words = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2}, special["unk_token"]))
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(str(folder))
    return folder


if __name__ == "__main__":
    main()
