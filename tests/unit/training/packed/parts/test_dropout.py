"""Dropout masks: right in the mean, independent, and repeatable from a saved state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from finetune30.training.packed.parts.dropout import StreamedMasks
from support.engines import build_packed, configure, random_batch
from support.tiny_models import build_tiny_model


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_mask_keeps_the_right_share_and_has_mean_one(probability: float) -> None:
    mask = StreamedMasks(1).draw((400, 500), probability, torch.float32)
    assert mask is not None
    dropped = float((mask == 0).float().mean())
    assert dropped == pytest.approx(probability, abs=0.005)
    assert mask.unique().tolist() == [0.0, pytest.approx(1 / (1 - probability))]
    assert float(mask.mean()) == pytest.approx(1.0, abs=0.01)


def test_masks_differ_between_draws_and_seeds() -> None:
    source, other = StreamedMasks(1), StreamedMasks(2)
    drawn = [masks.draw((64, 64), 0.3, torch.float32) for masks in (source, source, other)]
    for i, first in enumerate(drawn):
        for second in drawn[:i]:
            assert first is not None
            assert second is not None
            assert not first.equal(second)


def test_nothing_is_drawn_without_dropout() -> None:
    source = StreamedMasks(1)
    before = source.state()
    assert source.draw((8, 8), 0.0, torch.float32) is None
    assert source.state() == before


def test_saved_state_repeats_the_next_masks_of_every_stream() -> None:
    source = StreamedMasks(7)
    shapes = [((100, 300), 0.1, torch.float32), ((50,), 0.5, torch.bfloat16), ((600, 1000), 0.1, torch.float32)]
    for drawn in [*shapes, *shapes]:
        source.draw(*drawn)
    other = StreamedMasks(7)
    other.load_state(json.loads(json.dumps(source.state())))
    for drawn in [*shapes, *shapes]:
        expected, found = source.draw(*drawn), other.draw(*drawn)
        assert expected is not None
        assert found is not None
        assert expected.equal(found)


def test_resumed_engine_repeats_training_bit_for_bit(compiled: bool, tmp_path: Path) -> None:
    folder = build_tiny_model(tmp_path / "base", "distilbert")
    training = {"learning_rate": 1e-2, "weight_decay": 0.1, "compiled_kernels": compiled}
    config = configure(folder, lora={"lora_dropout": 0.2}, **training)
    batches = [random_batch([12, 7, 4], seed=i) for i in range(6)]
    whole = build_packed(config, precision="bf16")
    losses = []
    for i, batch in enumerate(batches):
        if i == 3:
            saved = whole.adapter_state(), whole.optimizer_state(), json.loads(json.dumps(whole.rng_state()))
        losses.append(float(whole.accumulate(batch, 1 / 3)))
        whole.step(1e-2)
    resumed = build_packed(config, precision="bf16")
    resumed.load_adapter_state(saved[0])
    resumed.load_optimizer_state(saved[1])
    resumed.load_rng_state(saved[2])
    for batch, loss in zip(batches[3:], losses[3:], strict=True):
        resumed.outputs(batch)  # evaluation must not touch training's random numbers
        assert float(resumed.accumulate(batch, 1 / 3)) == loss
        resumed.step(1e-2)
    for name, value in whole.adapter_state().items():
        assert value.equal(resumed.adapter_state()[name]), name
    for name, value in whole.optimizer_state().items():
        assert value.equal(resumed.optimizer_state()[name]), name


def test_step_with_infinite_gradient_changes_nothing(tmp_path: Path) -> None:
    engine = build_packed(configure(build_tiny_model(tmp_path / "base")))
    before = engine.adapter_state(), engine.optimizer_state()
    engine.accumulate(random_batch([5, 4]), float("inf"))
    assert not torch.isfinite(engine.step(1e-2))
    for was, now in zip(before, (engine.adapter_state(), engine.optimizer_state()), strict=True):
        assert all(was[name].equal(now[name]) for name in was)
    engine.accumulate(random_batch([5, 4]), 1.0)
    engine.discard_gradients()
    assert float(engine.step(1e-2)) == 0.0
