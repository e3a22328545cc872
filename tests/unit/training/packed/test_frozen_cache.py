"""Frozen layers run once a row: the same training, and whichever rows are asked for first, the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finetune30.data.batching import collate, epoch_order
from finetune30.data.encoding import EncodedSplit
from finetune30.training.packed import frozen_cache
from support.engines import build_packed, configure, switch_off_dropout
from support.tiny_models import build_tiny_model

LAYERS = 4


def build_split(lengths: list[int], seed: int = 0) -> EncodedSplit:
    generator = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = generator.integers(5, 40, offsets[-1]).astype(np.int32)
    labels = generator.integers(0, 2, len(lengths))
    names = [f"rows.csv:{number + 2}" for number in range(len(lengths))]
    return EncodedSplit(names, tokens, offsets, None, labels, np.zeros(len(lengths), dtype=np.bool_))


SPLIT = build_split([3, 30, 7, 7, 21, 4, 5, 16, 16, 9, 12, 2, 28, 6, 11, 8, 19, 23, 10, 3, 14])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = build_tiny_model(tmp_path / "base", "distilbert", layers=LAYERS)
    switch_off_dropout(folder)
    return folder


def build(base: Path, *, remembers: bool, compiled: bool = True, **lora: Any) -> Any:
    options = {"layers_to_transform": [2, 3], "lora_dropout": 0.1, "target_modules": ["q_lin", "v_lin", "lin1"], **lora}
    engine = build_packed(configure(base, lora=options, learning_rate=1e-2, compiled_kernels=compiled))
    if remembers:
        assert engine.remember(SPLIT) > 0
    return engine


def train(engine: Any, orders: list[Any]) -> tuple[list[float], dict[str, torch.Tensor]]:
    losses = []
    for rows in orders:
        losses.append(float(engine.accumulate(collate(SPLIT, rows, 0), 1 / len(rows))))
        engine.step(1e-2)
    return losses, engine.adapter_state()


ORDERS = [rows for epoch in range(3) for rows in epoch_order(SPLIT.lengths, 5, 7, epoch)]


@pytest.mark.parametrize("layers", [[2, 3], [3], [1]])
def test_training_is_the_same_as_with_every_layer_run(base, layers):
    losses, state = train(build(base, remembers=True, layers_to_transform=layers), ORDERS)
    plain_losses, plain_state = train(build(base, remembers=False, layers_to_transform=layers), ORDERS)
    assert losses == pytest.approx(plain_losses, abs=1e-6)
    for name, value in plain_state.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=2e-6)


def test_frozen_layers_run_once_a_row(base, monkeypatch):
    engine = build(base, remembers=True)
    runs: list[int] = []
    run = engine._run_frozen

    def watch(batch, *rest):
        runs.extend(batch.rows.tolist())
        return run(batch, *rest)

    monkeypatch.setattr(engine, "_run_frozen", watch)
    train(engine, ORDERS)
    assert sorted(runs) == list(range(len(SPLIT)))


def test_states_are_the_same_bytes_whichever_rows_come_first(base):
    whole = collate(SPLIT, np.arange(len(SPLIT)), 0)
    expected = build(base, remembers=True).outputs(whole)
    later = build(base, remembers=True)
    train_rows = np.asarray([20, 3, 11])
    later.outputs(collate(SPLIT, train_rows, 0))
    assert later.outputs(whole).tobytes() == expected.tobytes()


def test_nothing_is_kept_where_it_could_change_or_is_too_much(base, tmp_path, monkeypatch):
    assert build(base, remembers=False, layers_to_transform=None).remember(SPLIT) == 0
    dropping = build_tiny_model(tmp_path / "dropping", "distilbert", layers=LAYERS)
    assert build(dropping, remembers=False).remember(SPLIT) == 0
    monkeypatch.setattr(frozen_cache, "LARGEST_BYTES", 1000)
    assert build(base, remembers=False).remember(SPLIT) == 0


def test_rows_of_another_split_are_not_mixed_up(base):
    other = build_split([5, 9, 9], seed=4)
    engine, plain = build(base, remembers=True), build(base, remembers=False)
    engine.remember(other)
    batch = collate(other, np.arange(3), 0)
    np.testing.assert_allclose(engine.outputs(batch), plain.outputs(batch), atol=1e-6)
