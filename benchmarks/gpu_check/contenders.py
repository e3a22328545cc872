"""One trainer of language models in a process of its own, answering lines of a number of steps: for `peers`.

A line is answered with seconds, tokens, the loss of the very first step, and the peak of memory, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAMES = ("own", "trl", "trl-liger", "unsloth")
_TOKENS, _RANK = 16384, 16
_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
#: Takes so many steps after one to warm up; returns seconds and the loss of the first one.
Turn = Callable[[int], tuple[float, float]]


def main() -> None:
    """Build the contender, then answer lines until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--be", choices=NAMES, required=True)
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if options.be == "unsloth":
        import unsloth  # type: ignore[import-not-found]  # noqa: F401 - it wants to come before transformers

    from benchmarks.gpu_check.findings import Context

    context = Context(options.device, options.base.parent, options.base.parent, lambda _: None)
    build: dict[str, Callable[[], tuple[Turn, int]]] = {
        "own": lambda: _own(context, options.base),
        "trl": lambda: _trl(context, options.base, liger=False),
        "trl-liger": lambda: _trl(context, options.base, liger=True),
        "unsloth": lambda: _unsloth(context, options.base),
    }
    turn, tokens = build[options.be]()
    base_loss: float | None = None
    for line in sys.stdin:
        from finetune30.modeling.devices import peak_memory_bytes

        steps = int(line)
        seconds, first = turn(steps)
        base_loss = first if base_loss is None else base_loss
        answer = {"seconds": seconds, "tokens": tokens * steps, "base_loss": base_loss}
        print(json.dumps({**answer, "peak_bytes": peak_memory_bytes(context.device)}), file=answers, flush=True)


def _own(context: Any, base: Path) -> tuple[Turn, int]:
    from benchmarks.gpu_check.language_models import draw_packed_batch, take_step
    from benchmarks.gpu_check.material import build_engine, configure
    from benchmarks.gpu_check.timing import seconds_of

    config = configure(base, causal=True, lora={"r": _RANK, "target_modules": _TARGETS}, packing="on")
    engine = build_engine(config, context.device, "bf16")
    batch = draw_packed_batch(context, engine, _TOKENS)

    def turn(steps: int) -> tuple[float, float]:
        first = take_step(engine, batch)
        return seconds_of(engine.device, lambda: [take_step(engine, batch) for _ in range(steps)]), first

    return turn, int(batch.lengths.sum())


def _trl(context: Any, base: Path, *, liger: bool) -> tuple[Turn, int]:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, attn_implementation="sdpa")
    lora = LoraConfig(task_type="CAUSAL_LM", r=_RANK, lora_dropout=0.0, target_modules=_TARGETS)
    return _sft_trainer(context, get_peft_model(model, lora), AutoTokenizer.from_pretrained(base), liger=liger)


def _unsloth(context: Any, base: Path) -> tuple[Turn, int]:
    import torch
    from unsloth import FastLanguageModel

    model, tokenizer = FastLanguageModel.from_pretrained(
        str(base), max_seq_length=2048, dtype=torch.bfloat16, load_in_4bit=False
    )
    model = FastLanguageModel.get_peft_model(
        model, r=_RANK, lora_dropout=0.0, target_modules=_TARGETS, use_gradient_checkpointing=False
    )
    return _sft_trainer(context, model, tokenizer, liger=False)


def _sft_trainer(context: Any, model: Any, tokenizer: Any, *, liger: bool) -> tuple[Turn, int]:
    """Return TRL's trainer on the rows of our own batch, all of them in one step, laid behind each other."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]

    from benchmarks.gpu_check.classifiers import build_clock
    from benchmarks.gpu_check.language_models import draw_lengths
    from benchmarks.gpu_check.material import draw_token_rows

    split = draw_token_rows(context, draw_lengths(context, _TOKENS))
    rows = [split.tokens[start:stop].tolist() for start, stop in zip(split.offsets, split.offsets[1:], strict=False)]
    losses: list[float] = []

    class Recording(SFTTrainer):  # type: ignore[misc]
        """Keeps the loss of the first step whole: the log has four digits of it."""

        def compute_loss(self, *args: Any, **named: Any) -> Any:
            found = super().compute_loss(*args, **named)
            if not losses:
                losses.append(float((found[0] if isinstance(found, tuple) else found).detach()))
            return found

    def build_trainer(steps: int, clock: Any) -> Any:
        arguments = SFTConfig(
            tempfile.mkdtemp(prefix="trl-", dir=context.scratch),
            per_device_train_batch_size=len(rows),
            max_steps=steps,
            max_length=None,
            padding_free=True,
            gradient_checkpointing=False,
            use_liger_kernel=liger,
            bf16=True,
            use_cpu=not context.on_gpu,
            learning_rate=5e-4,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        data = Dataset.from_list([{"input_ids": row, "labels": row} for row in rows])
        return Recording(model=model, args=arguments, train_dataset=data, processing_class=tokenizer, callbacks=[clock])

    def turn(steps: int) -> tuple[float, float]:
        clock = build_clock(context.device, warm=1)
        build_trainer(1 + steps, clock).train()
        return clock.last - clock.first, losses[0]

    return turn, int(split.lengths.sum())


if __name__ == "__main__":
    main()
