"""Every precision of the device trains, and computes what float32 on the CPU computes, within its rounding."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.gpu_check.findings import Context
from benchmarks.gpu_check.material import (
    LEARNING_RATE,
    build_engine,
    configure,
    draw_labelled_rows,
    ensure_base,
    give_values_to_b,
    gradients,
    largest_gap,
)

if TYPE_CHECKING:
    from finetune30.data.encoding import EncodedSplit
    from finetune30.training.general import GeneralEngine

_STEPS, _ROWS = 20, 16
#: Relative distance of the first loss from that of float32 on the CPU, of one whole pass in each precision.
_LOSS_LIMITS = {"fp32": 1e-4, "bf16": 2e-2, "fp16": 1e-2}


def check(context: Context) -> None:
    """Train a classifier in each precision; compare losses and gradients with the CPU; let fp16 skip a step."""
    import torch

    if context.on_gpu:
        allowed = torch.backends.cuda.matmul.allow_tf32
        context.assert_that(not allowed, "TF32 products", "on" if allowed else "off", "off")
    split = draw_labelled_rows(context, _ROWS, 64)
    config = configure(ensure_base(context, "distilbert"), per_device_train_batch_size=_ROWS)
    reference = build_engine(config, "cpu", "fp32")
    give_values_to_b(reference)
    expected = _accumulate(reference, split)
    for precision, limit in _LOSS_LIMITS.items():
        if precision == "fp16" and not context.on_gpu:
            context.figure("fp16", "not run: it is for CUDA only")
            continue
        engine = build_engine(config, context.device, precision)
        engine.load_adapter_state(reference.adapter_state())
        first = _accumulate(engine, split)
        context.assert_below(abs(first - expected) / abs(expected), limit, f"{precision}: first loss against the CPU")
        _train(context, engine, split, precision, first)
        if precision == "fp16":
            _skip_a_step(context, engine, split)
    _compare_gradients(context, split)


def _accumulate(engine: GeneralEngine, split: EncodedSplit, scale: float = 1.0 / _ROWS) -> float:
    from finetune30.data.batching import collate

    return float(engine.accumulate(collate(split, np.arange(_ROWS), engine.pad_token_id), scale)) / _ROWS


def _train(context: Context, engine: GeneralEngine, split: EncodedSplit, precision: str, first: float) -> None:
    losses = [first]
    for _ in range(_STEPS):
        engine.step(LEARNING_RATE)
        losses.append(_accumulate(engine, split))
    engine.discard_gradients()
    falls = all(map(math.isfinite, losses)) and losses[-1] < losses[0]
    context.assert_that(
        falls, f"{precision}: loss in {_STEPS} steps", f"{losses[0]:.4f} to {losses[-1]:.4f}", "finite, falls"
    )


def _skip_a_step(context: Context, engine: GeneralEngine, split: EncodedSplit) -> None:
    """An infinite scale makes every gradient infinite, as an overflow does."""
    before, scale = engine.adapter_state(), float(engine.optimizer_state()["scaler|scale"])
    _accumulate(engine, split, scale=float("inf"))
    norm = float(engine.step(LEARNING_RATE))
    stayed = all(value.equal(before[name]) for name, value in engine.adapter_state().items())
    halved = float(engine.optimizer_state()["scaler|scale"]) == scale / 2
    context.assert_that(
        stayed and halved and not math.isfinite(norm),
        "fp16: a step whose gradients overflow",
        f"norm {norm}, weights {'stay' if stayed else 'move'}, scale {'halves' if halved else 'does not halve'}",
        "skipped, scale halves",
    )
    _accumulate(engine, split)
    engine.step(LEARNING_RATE)
    moved = any(not value.equal(before[name]) for name, value in engine.adapter_state().items())
    context.assert_that(moved, "fp16: the step after it", "moves" if moved else "stays", "moves")


def _compare_gradients(context: Context, split: EncodedSplit) -> None:
    """Hold float32 gradients of two layers against float64 ones of the CPU."""
    config = configure(ensure_base(context, "distilbert, 2 layers"))
    engine, exact = build_engine(config, context.device, "fp32"), build_engine(config, "cpu", "fp32")
    give_values_to_b(exact, engine)
    exact.model.double()
    _accumulate(exact, split)
    _accumulate(engine, split)
    gap = largest_gap(gradients(engine), gradients(exact))
    context.assert_below(gap, 1e-4, "fp32: gradients of 2 layers against float64")
