"""Language models of two sizes on packed rows of at most 2,048 tokens: tokens/s, share of the ceiling, memory."""

from __future__ import annotations

import importlib.util
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu_check.findings import Context, NotRunError
from benchmarks.gpu_check.material import LEARNING_RATE, build_engine, configure, draw_token_rows, ensure_base
from benchmarks.gpu_check.timing import measure_product, seconds_of

if TYPE_CHECKING:
    from finetune30.data.batching import Batch
    from finetune30.training.general import GeneralEngine


def check_1b(context: Context) -> None:
    """Train Llama-3.2-1B's shape in bfloat16, 16,384 tokens a step."""
    _check(context, "llama 1b", 16384, "at least 70,000")


def check_8b(context: Context) -> None:
    """Train Llama-3.1-8B's shape in bfloat16, 8,192 tokens a step, with both plans of memory."""
    _require_size(context)
    _check(context, "llama 8b", 8192, "at least 14,500")


def check_8b_nf4(context: Context) -> None:
    """Train Llama-3.1-8B's shape on a base in 4 bits."""
    _require_size(context)
    if importlib.util.find_spec("bitsandbytes") is None:
        raise NotRunError("bitsandbytes is not installed")
    _check(context, "llama 8b", 8192, "at least 13,000", quantization="nf4")


def _require_size(context: Context) -> None:
    if not context.on_gpu:
        raise NotRunError("tiny sizes would say no more than language-models-1b")


def _check(context: Context, shape: str, tokens: int, target: str, quantization: str | None = None) -> None:
    config = configure(ensure_base(context, shape), causal=True, quantization=quantization, packing="on")
    engine = build_engine(config, context.device, "bf16")
    batch, ceiling = draw_packed_batch(context, engine, tokens), measure_product(context)
    name = f"{shape}{', NF4' if quantization else ''}"
    _measure(context, engine, batch, f"{name}, all activations kept", target, ceiling)
    _measure_with_kernels(context, engine, batch, name, ceiling)
    _compute_layers_again(engine)
    again = f"{name}, each layer computed again{', own kernels' if engine.kernels else ''}"
    _measure(context, engine, batch, again, "", ceiling)


def _measure_with_kernels(context: Context, engine: GeneralEngine, batch: Batch, name: str, ceiling: float) -> None:
    """Do what `training.gpu_kernels` does, from here on."""
    from finetune30.errors import ModelError
    from finetune30.training.gpu_kernels.choosing import choose_kernels

    what = f"{name}, own kernels"
    if not context.on_gpu:
        context.figure(what, "not run: the speed of an interpreter says nothing")
        return
    try:
        choose_kernels(engine, "on")
    except ModelError as error:
        context.figure(what, f"not run: {error}")
        return
    _measure(context, engine, batch, what, "", ceiling)


def _compute_layers_again(engine: GeneralEngine) -> None:
    """Do what `training.gradient_checkpointing` does; a second engine would take half a minute to load."""
    from finetune30.modeling.recomputing import recompute_layers

    recompute_layers(engine.model)


def _measure(context: Context, engine: GeneralEngine, batch: Batch, what: str, target: str, ceiling: float) -> None:
    import torch

    from finetune30.modeling.devices import peak_memory_bytes
    from finetune30.modeling.memory import free_memory

    rounds, warm = (8, 3) if context.on_gpu else (2, 1)
    free_memory(engine.device)
    if context.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds = _time_steps(engine, batch, rounds + warm)[warm:]
    if not seconds:
        engine.discard_gradients()
        context.figure(f"{what}: tokens/s", "not run: out of memory", target)
        return
    speed = int(batch.lengths.sum()) / statistics.median(seconds)
    # 2 operations a weight forward and 2 backward; LoRA leaves the weights' own gradients out.
    share = 4 * engine.total_parameters * speed / 1e12 / ceiling
    context.figure(f"{what}: tokens/s", f"{speed:,.0f} ({share:.2f} of the measured product)", target)
    context.figure(f"{what}: peak memory", f"{peak_memory_bytes(engine.device) / 2**30:.1f} GiB")


def _time_steps(engine: GeneralEngine, batch: Batch, count: int) -> list[float]:
    """Return the seconds of each step, none where memory runs out."""
    from finetune30.modeling.memory import is_out_of_memory

    try:
        return [seconds_of(engine.device, lambda: take_step(engine, batch)) for _ in range(count)]
    except RuntimeError as error:
        if is_out_of_memory(error):
            return []
        raise


def draw_lengths(context: Context, tokens: int) -> list[int]:
    """Return lengths of rows like instructions with answers, at most 2,048, which come to `tokens`."""
    longest, wanted = (2048, tokens) if context.on_gpu else (64, 256)
    draws = np.random.default_rng(0)
    lengths: list[int] = []
    while (left := wanted - sum(lengths)) > 0:
        length = int(np.clip(draws.lognormal(np.log(longest / 4), 0.8), 8, longest))
        lengths.append(left if left - length < 2 else length)
    return lengths


def draw_packed_batch(context: Context, engine: GeneralEngine, tokens: int) -> Batch:
    """Return rows that come to `tokens`, for an engine that has been seen to pack them."""
    from finetune30.data.batching import collate
    from finetune30.training.packing import choose_packing

    split = draw_token_rows(context, draw_lengths(context, tokens))
    engine.packs, reason = choose_packing(engine, split, "on")
    assert engine.packs, reason
    return collate(split, np.arange(len(split)), engine.pad_token_id)


def take_step(engine: Any, batch: Batch) -> float:
    """Take one optimizer step and return the loss a token."""
    asked = int((batch.targets >= 0).sum())
    loss = float(engine.accumulate(batch, 1.0 / asked)) / asked
    engine.step(LEARNING_RATE)
    return loss
