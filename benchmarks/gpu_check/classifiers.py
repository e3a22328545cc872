"""Classifiers beside transformers' Trainer, in turns within one process; ratios are medians over the rounds."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu_check.findings import Context
from benchmarks.gpu_check.material import (
    LEARNING_RATE,
    PAD,
    build_engine,
    configure,
    draw_labelled_rows,
    ensure_base,
)
from benchmarks.gpu_check.timing import seconds_of

if TYPE_CHECKING:
    from finetune30.data.encoding import EncodedSplit

_TARGETS = {"distilbert": ["q_lin", "v_lin"], "bert": ["query", "value"]}
_TARGET_RATIO = {16: "at least 5", 64: "at least 3"}
#: Trains so many steps and returns the seconds of those after the first ones.
Turn = Callable[[], float]


def check(context: Context) -> None:
    """Measure DistilBERT and BERT-base in bfloat16 at batches of 16 and 64 short texts."""
    from finetune30.modeling.devices import peak_memory_bytes

    rounds, steps, warm = (5, 50, 10) if context.on_gpu else (1, 3, 1)
    for shape, targets in _TARGETS.items():
        base = ensure_base(context, shape)
        for batch_size in (16, 64) if context.on_gpu else (4,):
            split = draw_labelled_rows(context, batch_size * steps, 128)
            ours, device = _ours(context, base, targets, split, batch_size, warm)
            trainer = _trainer(context, base, targets, split, batch_size, warm)
            pairs = [(ours(), trainer()) for _ in range(rounds)]
            ratios = [theirs / mine for mine, theirs in pairs]
            mine, theirs = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
            rows = batch_size * (steps - warm)
            what = f"{shape}, batch {batch_size}: times as fast as Trainer"
            found = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            context.figure(what, found, _TARGET_RATIO.get(batch_size, ""))
            context.figure(
                f"{shape}, batch {batch_size}: rows/s, ours and Trainer", f"{rows / mine:.0f}, {rows / theirs:.0f}"
            )
    context.figure("peak memory of all of them", f"{peak_memory_bytes(device) / 2**30:.2f} GiB")


def _ours(
    context: Context, base: Path, targets: list[str], split: EncodedSplit, batch_size: int, warm: int
) -> tuple[Turn, str]:
    from finetune30.data.batching import collate, epoch_order

    config = configure(base, lora={"target_modules": targets})
    engine = build_engine(config, context.device, "bf16")

    def take(orders: list[Any]) -> None:
        for rows in orders:
            engine.accumulate(collate(split, rows, engine.pad_token_id), 1.0 / len(rows))
            float(engine.step(LEARNING_RATE))

    def turn() -> float:
        orders = epoch_order(split.lengths, batch_size, 0, 0)
        take(orders[:warm])
        return seconds_of(engine.device, lambda: take(orders[warm:]))

    return turn, engine.device


def _trainer(context: Context, base: Path, targets: list[str], split: EncodedSplit, batch_size: int, warm: int) -> Turn:
    """Return Trainer and PEFT as users tune them: rows grouped by length, padded to the longest of a batch."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments
    from transformers.utils import logging

    logging.disable_progress_bar()
    model: Any = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=8, lora_dropout=0.0, target_modules=targets))
    examples: Any = [
        {"input_ids": split.tokens[start:stop].tolist(), "labels": int(label)}
        for start, stop, label in zip(split.offsets, split.offsets[1:], split.targets, strict=False)
    ]

    def pad(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        lengths = np.asarray([len(row["input_ids"]) for row in rows])
        inside = np.arange(lengths.max())[None, :] < lengths[:, None]
        ids = np.full(inside.shape, PAD, dtype=np.int64)
        ids[inside] = np.concatenate([row["input_ids"] for row in rows])
        labels = torch.tensor([row["labels"] for row in rows])
        mask = torch.from_numpy(inside.astype(np.int64))
        return {"input_ids": torch.from_numpy(ids), "attention_mask": mask, "labels": labels}

    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(prefix="trainer-", dir=context.scratch),
        per_device_train_batch_size=batch_size,
        learning_rate=LEARNING_RATE,
        num_train_epochs=1,
        train_sampling_strategy="group_by_length",
        bf16=True,
        use_cpu=not context.on_gpu,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )

    def turn() -> float:
        clock = build_clock(context.device, warm)
        Trainer(model, arguments, data_collator=pad, train_dataset=examples, callbacks=[clock]).train()
        return float(clock.last - clock.first)

    return turn


def build_clock(device: str, warm: int) -> Any:
    """Return a callback of Trainer that notes when the first `warm` steps, and when all steps, have ended."""
    import time

    from transformers import TrainerCallback

    from finetune30.modeling.devices import synchronize

    class Clock(TrainerCallback):
        """Waits for the device only where it reads the time."""

        first = last = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == warm:
                synchronize(device)
                self.first = time.perf_counter()

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            synchronize(device)
            self.last = time.perf_counter()

    return Clock()
