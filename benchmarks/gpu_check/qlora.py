"""A base in 4 bits (NF4): what it stands for, its gradients, training, resume, and plain PEFT on the saved adapter."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu_check.findings import Context, NotRunError
from benchmarks.gpu_check.material import (
    LEARNING_RATE,
    build_engine,
    configure,
    draw_token_rows,
    ensure_base,
    give_values_to_b,
    gradients,
    largest_gap,
)

if TYPE_CHECKING:
    from finetune30.config import ExperimentConfig
    from finetune30.data.batching import Batch
    from finetune30.training.general import GeneralEngine

_STEPS, _STOP = 10, 4


def check(context: Context) -> None:
    """Train on a quantised base, go on with it bit for bit, and load its adapter with plain PEFT."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise NotRunError("bitsandbytes is not installed")
    from finetune30.data.batching import collate
    from finetune30.modeling.devices import choose_placement
    from finetune30.training.determinism import apply_determinism

    precision = "bf16" if context.on_gpu else "fp32"
    apply_determinism(choose_placement(context.device, precision).device, True)
    base = ensure_base(context, "llama, 2 layers")
    config = configure(base, causal=True, quantization="nf4")
    split = draw_token_rows(context, [64, 40, 33, 17], vocabulary=20)
    engine = build_engine(config, context.device, precision)
    batch = collate(split, np.arange(len(split)), engine.pad_token_id)
    _compare_with_dequantised(
        context, engine, build_engine(configure(base, causal=True), context.device, precision), batch
    )
    _train_and_resume(context, config, precision, batch)


def _compare_with_dequantised(context: Context, engine: GeneralEngine, whole: GeneralEngine, batch: Batch) -> None:
    """Compare with a base that is not quantised: its weights, then gradients on the weights that 4 bits stand for."""
    import torch
    from bitsandbytes.functional import dequantize_4bit

    theirs = dict(whole.model.named_modules())
    gaps = []
    for name, module in engine.model.named_modules():
        weight: Any = getattr(module, "weight", None)
        if getattr(weight, "quant_state", None) is None:
            continue
        stood_for = dequantize_4bit(weight.data, weight.quant_state)
        other: Any = theirs[name]
        gaps.append(float((stood_for.float() - other.weight.float()).norm() / other.weight.float().norm()))
        with torch.no_grad():
            other.weight.copy_(stood_for)
    context.assert_that(bool(gaps), "layers in 4 bits", str(len(gaps)), "at least 1")
    context.assert_below(max(gaps, default=float("nan")), 0.1, "weights in 4 bits against whole ones, relative")
    give_values_to_b(engine, whole)
    for each in (engine, whole):
        each.accumulate(batch, 1e-2)
    context.assert_below(
        largest_gap(gradients(engine), gradients(whole)), 2e-2, "gradients against the weights stood for"
    )


def _train_and_resume(context: Context, config: ExperimentConfig, precision: str, batch: Batch) -> None:
    from finetune30.training.streams import digest_tensors

    engine = build_engine(config, context.device, precision)
    losses = []
    for step in range(_STEPS):
        if step == _STOP:
            resumed = build_engine(config, context.device, precision)
            resumed.load_adapter_state(engine.adapter_state())
            resumed.load_optimizer_state(engine.optimizer_state())
            resumed.load_rng_state(engine.rng_state())
        losses.append(float(engine.accumulate(batch, 1e-2)))
        engine.step(LEARNING_RATE)
    for _ in range(_STOP, _STEPS):
        resumed.accumulate(batch, 1e-2)
        resumed.step(LEARNING_RATE)
    context.assert_that(
        losses[-1] < losses[0], f"loss in {_STEPS} steps", f"{losses[0]:.2f} to {losses[-1]:.2f}", "falls"
    )
    same = [
        digest_tensors(engine.adapter_state()) == digest_tensors(resumed.adapter_state()),
        digest_tensors(engine.optimizer_state()) == digest_tensors(resumed.optimizer_state()),
    ]
    context.assert_that(
        all(same), f"gone on with after {_STOP} steps", f"adapter, optimizer equal: {same}", "equal bit for bit"
    )
    _load_with_peft(context, engine, config, precision, batch)


def _load_with_peft(
    context: Context, engine: GeneralEngine, config: ExperimentConfig, precision: str, batch: Batch
) -> None:
    """Compare the row losses of the engine with those of transformers and PEFT alone, on the base quantised alike."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from finetune30.modeling.quantization_settings import Quantization

    folder = context.scratch / "adapter"
    engine.save_adapter(folder)
    dtype = {"bf16": "bfloat16", "fp32": "float32"}[precision]
    settings: Any = Quantization("nf4", ("lm_head",)).settings(dtype)
    plain = AutoModelForCausalLM.from_pretrained(
        config.model.name,
        quantization_config=BitsAndBytesConfig(**settings),
        device_map={"": engine.device},
        dtype=dtype,
    )
    model: Any = PeftModel.from_pretrained(plain, str(folder)).eval()
    gaps = []
    for row, length in enumerate(batch.lengths):
        part = batch.part(np.asarray([row]))
        with torch.inference_mode():
            logits = model(input_ids=torch.from_numpy(part.input_ids).to(engine.device)).logits.float().cpu()
        expected = torch.nn.functional.cross_entropy(logits[0, : length - 1], torch.from_numpy(part.targets[0, :-1]))
        found = float(engine.outputs(part)[0, : length - 1, 0].mean())
        gaps.append(abs(found - float(expected)) / float(expected))
    context.assert_below(max(gaps), 2e-2, "row losses of the saved adapter in plain PEFT, relative")
