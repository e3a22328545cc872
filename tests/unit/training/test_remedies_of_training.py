"""What an error of a training says to do is done to the letter, and a new run then ends well.

No machine runs out of memory or of numbers when a test wants it to. So the device of these engines has room for a given
number of tokens at a time, and a step that is too large leaves weights that are infinite, as a real one does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finetune30.config import TrainingConfig
from finetune30.data.batching import Batch
from finetune30.data.encoding import EncodedSplit
from finetune30.errors import ModelError, NonFiniteLossError, OutOfMemoryError
from finetune30.modeling.base import find_base
from finetune30.training.loop import train
from finetune30.training.paths import build_engine as build_path
from finetune30.training.paths import choose_path
from finetune30.training.progress import TrainingResult
from support.engines import CPU_FP32, build_trainable, configure
from support.hooks import RecordingHooks
from support.rows import encoded_split

Build = Callable[..., Any]
PROBLEM = build_trainable()
ROWS = 23


def settings(**changes: Any) -> TrainingConfig:
    values = {"device": "cpu", "precision": "fp32", "num_train_epochs": 2, "learning_rate": 0.01, **changes}
    return TrainingConfig(**values)


def run(engine: Any, config: TrainingConfig, most_tokens: int = 99, rows: EncodedSplit | None = None) -> TrainingResult:
    """Train on rows of at most so many tokens, which is what data.max_length says."""
    split = cut(rows or encoded_split(ROWS), most_tokens)
    hooks = RecordingHooks()
    return train(engine, split, cut(encoded_split(9, seed=1), most_tokens), config, PROBLEM, hooks)


def cut(split: EncodedSplit, most: int) -> EncodedSplit:
    lengths = np.minimum(split.lengths, most)
    kept = [split.tokens[start : start + n] for start, n in zip(split.offsets, lengths, strict=False)]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return replace(split, tokens=np.concatenate(kept), offsets=offsets)


def with_room(engine: Any, tokens: int) -> Any:
    """Return the engine on a device that has room for so many tokens at a time."""

    def within(work: Callable[..., Any]) -> Callable[..., Any]:
        def do(batch: Batch, *more: Any) -> Any:
            if batch.input_ids.size > tokens:
                raise torch.OutOfMemoryError("out of memory")
            return work(batch, *more)

        return do

    engine.accumulate, engine.outputs = within(engine.accumulate), within(engine.outputs)
    return engine


def test_a_step_of_as_many_rows_in_smaller_parts_needs_less_memory(build_engine: Build) -> None:
    config = settings(per_device_train_batch_size=16, gradient_accumulation_steps=1, per_device_eval_batch_size=1)
    with pytest.raises(OutOfMemoryError) as caught:
        run(with_room(build_engine(), 15), config)
    found = re.fullmatch(
        r"start a new run with training\.per_device_train_batch_size (\d+) and "
        r"training\.gradient_accumulation_steps (\d+) \(as many rows a step\), or with a lower data\.max_length; "
        r"or free the device and start a new run",
        caught.value.remedy,
    )
    assert found is not None, caught.value.remedy
    batch, parts = map(int, found.groups())
    smaller = config.model_copy(update={"per_device_train_batch_size": batch, "gradient_accumulation_steps": parts})
    whole, done = run(build_engine(), config), run(with_room(build_engine(), 15), smaller)
    # It is the same training: as many steps of as many rows.
    assert batch * parts == 16
    assert (done.progress.global_step, done.progress.samples) == (whole.progress.global_step, 2 * ROWS)
    assert done.progress.memory_retries == 0
    # The other ways: texts of 7 tokens, of which two fit, and a device that is free.
    assert run(with_room(build_engine(), 15), config, most_tokens=7).progress.samples == 2 * ROWS
    assert run(with_room(build_engine(), 10_000), config).progress.memory_retries == 0


def test_where_one_row_is_too_large_only_shorter_texts_or_a_free_device_help(build_engine: Build) -> None:
    config = settings(per_device_train_batch_size=4, per_device_eval_batch_size=1)
    with pytest.raises(OutOfMemoryError, match="micro-batch 1") as caught:
        run(with_room(build_engine(), 5), config)
    assert caught.value.remedy == "start a new run with a lower data.max_length, or free the device and start a new run"
    assert run(with_room(build_engine(), 5), config, most_tokens=5).progress.samples == 2 * ROWS
    assert run(build_engine(), config).progress.samples == 2 * ROWS


def test_an_evaluation_without_room_for_a_row_needs_shorter_texts_or_a_free_device(build_engine: Build) -> None:
    engine = build_engine()
    accumulate = engine.accumulate
    config = settings(per_device_train_batch_size=4, per_device_eval_batch_size=4)
    with_room(engine, 5).accumulate = accumulate  # only the evaluation meets the limit
    with pytest.raises(OutOfMemoryError, match="in evaluation with batch 1") as caught:
        run(engine, config)
    assert caught.value.remedy == "start a new run with a lower data.max_length; or free the device"
    assert caught.value.next_step == "resume"
    assert run(with_room(build_engine(), 20), config, most_tokens=5).progress.samples == 2 * ROWS


def breaking(engine: Any, above: float) -> Any:
    """Return the engine with weights that become infinite in a step at a higher rate."""
    step = engine.step

    def take(rate: float) -> Any:
        norm = step(rate)
        if rate > above:
            engine.load_adapter_state(
                {name: torch.full_like(w, math.inf) for name, w in engine.adapter_state().items()}
            )
        return norm

    engine.step = take
    return engine


@pytest.mark.parametrize("where", ["training", "evaluation"])
def test_a_loss_that_is_no_number_is_one_at_a_lower_rate_or_in_fp32(build_engine: Build, where: str) -> None:
    steps = {"num_train_epochs": 1} if where == "training" else {"max_steps": 1}
    fast = settings(learning_rate=0.5, lr_scheduler_type="constant", precision="bf16", warmup_ratio=0.0, **steps)
    with pytest.raises(NonFiniteLossError) as caught:
        run(breaking(build_engine(precision="bf16"), 0.1), fast)
    assert caught.value.message.startswith("the evaluation loss" if where == "evaluation" else "the loss")
    advice, _, kept = caught.value.remedy.partition("; ")
    assert advice == (
        "start a new run with a lower training.learning_rate or with training.precision fp32, or look at those rows"
    )
    assert kept == "there is no checkpoint yet"
    slow = fast.model_copy(update={"learning_rate": 0.05})
    assert math.isfinite(run(breaking(build_engine(precision="bf16"), 0.1), slow).metrics["eval_loss"])
    exact = fast.model_copy(update={"precision": "fp32"})
    assert math.isfinite(run(build_engine(), exact).metrics["eval_loss"])


def test_a_loss_that_is_no_number_in_fp32_is_one_at_a_lower_rate(build_engine: Build) -> None:
    fast = settings(learning_rate=0.5, lr_scheduler_type="constant", warmup_ratio=0.0)
    with pytest.raises(NonFiniteLossError) as caught:
        run(breaking(build_engine(), 0.1), fast)
    advice, _, _ = caught.value.remedy.partition("; ")
    assert advice == "start a new run with a lower training.learning_rate, or look at those rows"
    slow = fast.model_copy(update={"learning_rate": 0.05})
    assert math.isfinite(run(breaking(build_engine(), 0.1), slow).metrics["eval_loss"])


@pytest.mark.parametrize(("family", "lora"), [("llama", {}), ("bert", {"use_dora": True})])
def test_a_path_that_cannot_run_an_experiment_is_left_to_auto(
    tiny_model: Callable[..., Path], family: str, lora: dict[str, Any]
) -> None:
    asked = configure(tiny_model(family), lora=lora, engine="packed", device="cpu", precision="fp32")
    source = find_base(asked.model)
    with pytest.raises(ModelError) as caught:
        choose_path(asked, source, PROBLEM, CPU_FP32)
    assert caught.value.remedy == "set training.engine to auto"
    auto = configure(tiny_model(family), lora=lora, engine="auto", device="cpu", precision="fp32")
    path, _ = choose_path(auto, source, PROBLEM, CPU_FP32)
    engine = build_path(path, auto, source, PROBLEM, CPU_FP32)
    assert (path, engine.name) == ("general", "general")
    assert math.isfinite(run(engine, settings(num_train_epochs=1)).metrics["eval_loss"])
