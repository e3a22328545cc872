"""PyTorch's operators, which run where no kernels were compiled (Apple), train as the compiled kernels do.

Without dropout: its masks come from different generators, and their effect is compared in test_dropout_equality.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune30.modeling.base import find_base
from finetune30.problems.trainables import load_trainable
from finetune30.training.paths import build_engine
from support.decoders import build_tiny_decoder, configure_decoder, token_batch
from support.engines import CPU_FP32, build_packed, configure, random_batch, switch_off_dropout
from support.tiny_models import build_tiny_model

STEPS = 12


def _encoder(folder: Path, compiled: bool) -> Any:
    switch_off_dropout(folder)
    lora = {"target_modules": ["query", "value", "dense"]}
    return build_packed(configure(folder, lora=lora, compiled_kernels=compiled, weight_decay=0.1))


def _decoder(folder: Path, compiled: bool) -> Any:
    config = configure_decoder(folder, compiled_kernels=compiled, weight_decay=0.1)
    return build_engine("packed", config, find_base(config.model), load_trainable("causal_lm", {}), CPU_FP32)


def _losses(engine: Any, batches: list[Any]) -> list[float]:
    losses = []
    for batch in batches:
        losses.append(float(engine.accumulate(batch, 1 / len(batch))) / len(batch))
        engine.step(1e-2)
    return losses


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_losses_are_those_of_the_compiled_form(tmp_path: Path, kind: str) -> None:
    lengths = [13, 5, 30, 9]
    if kind == "encoder":
        folder, build = build_tiny_model(tmp_path / "base", "bert"), _encoder
        batches: list[Any] = [random_batch(lengths, seed=step % 3) for step in range(STEPS)]
    else:
        folder, build = build_tiny_decoder(tmp_path / "base"), _decoder
        batches = [token_batch(lengths, seed=step % 3) for step in range(STEPS)]
    compiled, plain = build(folder, True), build(folder, False)
    assert plain.operations == "PyTorch's operators" != compiled.operations
    found, expected = _losses(plain, batches), _losses(compiled, batches)
    assert found == pytest.approx(expected, rel=1e-4)
    assert found[-1] < found[0], "nothing was learnt, so nothing was compared"
