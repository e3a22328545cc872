"""The packed path computes what the general path computes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune30.errors import CheckpointError
from support.engines import build_general, build_packed, configure, random_batch, switch_off_dropout
from support.tiny_models import build_tiny_model

# One layout each: joint (with fillers), a grid with padding, a grid that is full; then batches that are worked on in
# parts, for their tokens and for their cells.
LAYOUTS = {
    "joint": [13, 5, 9],
    "grid": [30, 28, 9, 3, 30, 27],
    "full grid": [16, 16, 16, 16, 16],
    "many tokens": [40, 38, 36, 34, 30, 28, 26, 24, 6],
    "many cells": [60, 3, 3, 3, 3, 3, 3, 3, 3, 3],
}
ALL_TARGETS = {
    "distilbert": ["q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"],
    "bert": ["query", "key", "value", "dense"],
    "roberta": ["query", "key", "value", "dense"],
}


def _adapted(lora_state: dict[str, Any]) -> dict[str, Any]:
    """Give every B matrix a value: with B = 0 the gradient of A would be zero and hide mistakes."""
    import torch

    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.randn(value.shape, generator=generator) * 0.2 if "lora_B" in name else value
        for name, value in lora_state.items()
    }


def _both(
    folder: Path, lora: dict[str, Any], problem_type: str, num_labels: int, *, compiled: bool = True, **training: Any
) -> tuple[Any, Any]:
    config = configure(folder, lora=lora, learning_rate=1e-2, compiled_kernels=compiled, **training)
    general = build_general(config, problem_type=problem_type, num_labels=num_labels)
    packed = build_packed(config, problem_type=problem_type, num_labels=num_labels)
    return general, packed


@pytest.mark.parametrize("family", ["distilbert", "bert", "roberta"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_equals_general_path_without_dropout(compiled: bool, tmp_path: Path, family: str, layout: str) -> None:
    folder = build_tiny_model(tmp_path / "base", family)
    switch_off_dropout(folder)
    lora = {"target_modules": ALL_TARGETS[family]}
    general, packed = _both(folder, lora, "single_label_classification", 2, compiled=compiled, weight_decay=0.1)
    assert packed.adapter_state().keys() == general.adapter_state().keys()
    for name, value in general.adapter_state().items():
        assert value.equal(packed.adapter_state()[name]), name
    state = _adapted(general.adapter_state())
    general.load_adapter_state(state)
    packed.load_adapter_state(state)
    for step in range(5):
        batch = random_batch(LAYOUTS[layout], seed=step)
        if family == "distilbert":
            batch = replace(batch, token_type_ids=None)
        scale = 1 / len(batch)
        expected, found = general.accumulate(batch, scale), packed.accumulate(batch, scale)
        assert float(found) * scale == pytest.approx(float(expected) * scale, abs=1e-6)
        assert float(packed.step(1e-2)) == pytest.approx(float(general.step(1e-2)), rel=1e-4)
    np.testing.assert_allclose(packed.outputs(batch), general.outputs(batch), atol=2e-5)
    for name, value in general.adapter_state().items():
        np.testing.assert_allclose(packed.adapter_state()[name].numpy(), value.numpy(), atol=3e-4, err_msg=name)


@pytest.mark.parametrize(
    ("problem_type", "num_labels"),
    [("single_label_classification", 5), ("multi_label_classification", 4), ("regression", 1)],
)
def test_loss_equals_general_path_for_every_task(
    compiled: bool, tmp_path: Path, problem_type: str, num_labels: int
) -> None:
    folder = build_tiny_model(tmp_path / "base", "bert")
    switch_off_dropout(folder)
    general, packed = _both(folder, {"use_rslora": True}, problem_type, num_labels, compiled=compiled)
    for step in range(3):
        batch = random_batch([9, 6, 4], seed=step, problem_type=problem_type, num_labels=num_labels)
        assert float(packed.accumulate(batch, 0.5)) == pytest.approx(float(general.accumulate(batch, 0.5)), abs=3e-6)
        assert float(packed.step(1e-2)) == pytest.approx(float(general.step(1e-2)), rel=1e-4)


@pytest.mark.parametrize(
    "lora",
    [
        {"target_modules": ["query"], "layers_to_transform": [1]},
        {"target_modules": ["output.dense"]},
        {"target_modules": "all-linear", "layers_to_transform": [0, 2]},
        {"target_modules": ["pooler.dense"]},
        {"target_modules": ["value"], "modules_to_save": ["pooler"]},
        {"target_modules": ["intermediate.dense"], "layers_to_transform": [2]},
    ],
    ids=str,
)
def test_training_equals_general_path_for_partial_adapters(
    compiled: bool, tmp_path: Path, lora: dict[str, Any]
) -> None:
    folder = build_tiny_model(tmp_path / "base", "bert", layers=3)
    switch_off_dropout(folder)
    general, packed = _both(folder, lora, "single_label_classification", 2, compiled=compiled)
    state = _adapted(general.adapter_state())
    general.load_adapter_state(state)
    packed.load_adapter_state(state)
    assert packed.trainable_parameters == general.trainable_parameters
    for step in range(3):
        batch = random_batch([7, 12], seed=step)
        assert float(packed.accumulate(batch, 0.5)) == pytest.approx(float(general.accumulate(batch, 0.5)), abs=2e-6)
        assert float(packed.step(1e-2)) == pytest.approx(float(general.step(1e-2)), rel=1e-4)


def test_gradients_add_up_over_micro_batches(compiled: bool, tmp_path: Path) -> None:
    folder = build_tiny_model(tmp_path / "base", "distilbert")
    switch_off_dropout(folder)
    config = configure(folder, compiled_kernels=compiled)
    whole, parts = build_packed(config), build_packed(config)
    batch = replace(random_batch([9, 9, 9, 9]), token_type_ids=None)
    whole.accumulate(batch, 0.25)
    for rows in (slice(0, 2), slice(2, 4)):
        part = replace(
            batch,
            rows=batch.rows[rows],
            input_ids=batch.input_ids[rows],
            attention_mask=batch.attention_mask[rows],
            targets=batch.targets[rows],
            lengths=batch.lengths[rows],
        )
        parts.accumulate(part, 0.25)
    assert float(parts.step(1e-3)) == pytest.approx(float(whole.step(1e-3)), rel=1e-5)


def test_checkpoint_with_prefix_and_old_norm_names_is_read(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = build_tiny_model(tmp_path / "base", "bert")
    batch = random_batch([6, 4])
    expected = build_packed(configure(folder)).outputs(batch)
    weights = load_file(folder / "model.safetensors")
    renamed = {
        "bert." + n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): w
        for n, w in weights.items()
    }
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_array_equal(build_packed(configure(folder)).outputs(batch), expected)


@pytest.mark.parametrize("model_type", ["xlm-roberta", "camembert"])
def test_descendants_of_roberta_equal_general_path(tmp_path: Path, model_type: str) -> None:
    folder = build_tiny_model(tmp_path / "base", "roberta")
    switch_off_dropout(folder)
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**described, "model_type": model_type}))
    general, packed = _both(folder, {}, "single_label_classification", 2)
    batch = random_batch([6, 4])
    assert float(packed.accumulate(batch, 0.5)) == pytest.approx(float(general.accumulate(batch, 0.5)), abs=2e-6)
    assert float(packed.step(1e-2)) == pytest.approx(float(general.step(1e-2)), rel=1e-4)


def test_missing_pooler_is_trained_like_in_the_general_path(compiled: bool, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = build_tiny_model(tmp_path / "base", "bert")
    switch_off_dropout(folder)
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "pooler" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    general, packed = _both(folder, {}, "single_label_classification", 2, compiled=compiled)
    assert packed.adapter_state().keys() == general.adapter_state().keys()
    assert "base_model.model.bert.pooler.dense.weight" in packed.adapter_state()
    batch = random_batch([6, 4])
    np.testing.assert_allclose(packed.outputs(batch), general.outputs(batch), atol=1e-6)


def test_logits_of_a_long_batch_equal_those_of_its_rows_alone(compiled: bool, tmp_path: Path) -> None:
    folder = build_tiny_model(tmp_path / "base", "bert")
    packed = build_packed(configure(folder, compiled_kernels=compiled))
    batch = random_batch([30] * 40, seed=0)  # more tokens than are predicted together
    alone = [packed.outputs(batch.part(slice(i, i + 1))) for i in range(len(batch))]
    np.testing.assert_allclose(packed.outputs(batch), np.concatenate(alone), atol=2e-6)


def test_parts_hold_every_row_once_and_few_tokens() -> None:
    from finetune30.training.packed.layout import halve

    lengths = np.array([300, 90, 80, 80, 70, 9, 8, 7, 6, 5, 4])
    parts = halve(lengths, 200, slice(0, len(lengths)))
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(len(lengths)))
    for part in parts:
        inside = lengths[part]
        assert len(inside) == 1 or (inside.sum() <= 200 and len(inside) * inside.max() <= 400)
    assert len(parts) < len(lengths)


def test_weights_of_another_model_are_refused_on_both_paths(tmp_path: Path) -> None:
    """One output is not spread over three, and nothing is left aside."""
    folder = build_tiny_model(tmp_path / "base", "bert")
    lora = {"target_modules": ["query", "value"]}
    one = build_packed(configure(folder, lora=lora), problem_type="regression", num_labels=1).adapter_state()
    for engine in _both(folder, lora, "single_label_classification", 3):
        before = engine.adapter_state()
        with pytest.raises(CheckpointError, match=r"2 weights .* other shapes .*classifier\.weight \[1, "):
            engine.load_adapter_state(one)
        name = next(iter(before))
        with pytest.raises(CheckpointError, match=rf"1 weights are in the saved adapter .*{name}"):
            engine.load_adapter_state({key: value for key, value in before.items() if key != name})
        with pytest.raises(CheckpointError, match=r"1 weights are in the saved adapter .*: more"):
            engine.load_adapter_state({**before, "more": before[name]})
        assert all(value.equal(before[key]) for key, value in engine.adapter_state().items())
