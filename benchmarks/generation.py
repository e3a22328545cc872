"""Greedy answers and evaluation of a language model of SmolLM2-135M's size on the CPU: transformers, both paths here.

    OMP_NUM_THREADS=1 BENCHMARK_CLOCK=cpu python -m benchmarks.generation --precision fp32 --rounds 3

Every contender has a process of its own; they take turns, so that whatever else the machine does hits all of them, and
ratios are medians over the rounds. Weights and tokens are random, which does not change the speed; LoRA is on every
linear layer. Prompts have 48 tokens, and 32 are gone on with: tokens/s counts these, prompts' time included. Evaluated
are the first rows of `benchmarks.language_models`.

peft     transformers' own `generate` on PEFT's model
merged   the same with the adapter merged into the weights
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
from benchmarks.language_models import SIZES, build_base, build_engine, draw_batch, load_adapted
from benchmarks.turns import build_parser, take_turns

CONTENDERS = ("peft", "merged", "general", "packed")
PROMPT, NEW, EVALUATED = 48, 32, 1
#: What is measured, in the words of the table; the last one is the rows of so many batches of four.
TASKS = ("answers to 1", "answers to 8", "evaluated rows")
#: Does one of `TASKS` by its place.
Work = Callable[[int], None]


def main() -> None:
    """Measure the contenders in turns and print a table, or be one of them."""
    options = build_parser("benchmarks.generation", __doc__, CONTENDERS, rounds=3).parse_args()
    if options.be:
        _serve(options.be, options.precision, options.base)
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        base = options.base or build_base(Path(scratch) / "base")
        words = ("--precision", options.precision, "--base", str(base))
        found = take_turns("benchmarks.generation", words, CONTENDERS, ["go"] * (options.rounds + 1))
    amounts = (NEW, 8 * NEW, sum(len(draw_batch(number)) for number in range(EVALUATED)))
    print(f"| contender | {' | '.join(f'{task}, /s | × peft' for task in TASKS)} | peak RSS, MB |")
    print("|" + "---|" * (2 * len(TASKS) + 2))
    for name, turns in found.items():
        cells = []
        for task, amount in enumerate(amounts):
            seconds = [turn["seconds"][task] for turn in turns]
            ratios = [other["seconds"][task] / own for other, own in zip(found["peft"], seconds, strict=True)]
            cells.append(f"{amount / statistics.median(seconds):.1f} | {statistics.median(ratios):.2f}")
        print(f"| {name} {options.precision} | {' | '.join(cells)} | {turns[-1]['rss_mb']:.0f} |")


def _serve(name: str, precision: str, base: Path) -> None:
    """Answer every line with the seconds that each task took and the memory, one JSON line each."""
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print
    work = _theirs(name, precision, base) if name in ("peft", "merged") else _ours(name, precision, base)
    for _ in sys.stdin:
        seconds = []
        for task in range(len(TASKS)):
            started = CLOCK()
            work(task)
            seconds.append(CLOCK() - started)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "rss_mb": peak}), file=answers, flush=True)


def _draw_prompts(task: int) -> list[list[int]]:
    draws = np.random.default_rng(task)
    found: list[list[int]] = draws.integers(3, SIZES["vocab_size"], ((1, 8)[task], PROMPT)).tolist()
    return found


def _ours(path: str, precision: str, base: Path) -> Work:
    from finetune30.modeling.conversations.generation import Sampling, generate

    engine: Any = build_engine(path, precision, base)

    def work(task: int) -> None:
        if task == len(TASKS) - 1:
            for number in range(EVALUATED):
                engine.outputs(draw_batch(number))
            return
        with engine.lend() as model:
            generate(model, _draw_prompts(task), frozenset(), Sampling(NEW))

    return work


def _theirs(name: str, precision: str, base: Path) -> Work:
    import torch

    model: Any = load_adapted(precision, base).eval()
    model = model.merge_and_unload() if name == "merged" else model

    def work(task: int) -> None:
        with torch.inference_mode():
            if task == len(TASKS) - 1:
                _evaluate(model)
                return
            ids = torch.tensor(_draw_prompts(task))
            model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                min_new_tokens=NEW,
                max_new_tokens=NEW,
                pad_token_id=SIZES["pad_token_id"],
            )

    return work


def _evaluate(model: Any) -> None:
    """Evaluate as Trainer does: the loss of padded rows, logits of all their tokens."""
    import torch

    for number in range(EVALUATED):
        batch = draw_batch(number)
        labels = np.where(batch.targets >= 0, batch.targets, -100)
        labels = np.concatenate([np.full((len(batch), 1), -100), labels[:, :-1]], axis=1)  # the model shifts them back
        ids, mask, wanted = (torch.from_numpy(part) for part in (batch.input_ids, batch.attention_mask, labels))
        float(model(input_ids=ids, attention_mask=mask, labels=wanted, use_cache=False).loss)


if __name__ == "__main__":
    main()
