"""The packed path trains a language model as the general path does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finetune30.modeling.base import find_base
from finetune30.modeling.devices import Placement
from finetune30.problems.trainables import load_trainable
from finetune30.training.general import GeneralEngine
from finetune30.training.packed import PackedEngine
from finetune30.training.paths import build_engine
from support.decoders import KINDS, build_tiny_decoder, configure_decoder, token_batch

#: Rows of one token, of several, and of more than are worked on together.
LENGTHS = {"short": [9, 1, 5], "long": [48, 30, 17, 16, 2], "many": [48, 47, 46, 45, 44, 43, 42, 41, 40, 20]}


def _both(folder: Path, lora: dict[str, Any], *, compiled: bool, precision: str = "fp32") -> tuple[Any, Any]:
    config = configure_decoder(folder, lora=lora, compiled_kernels=compiled, weight_decay=0.1)
    engines = []
    for path in ("general", "packed"):
        problem = load_trainable("causal_lm", {})
        engines.append(
            build_engine(path, config, find_base(config.model), problem, Placement("cpu", precision, "test"))
        )
    general, packed = engines
    assert isinstance(general, GeneralEngine)
    assert isinstance(packed, PackedEngine)
    # With B = 0 the gradient of A would be zero and hide mistakes.
    generator = torch.Generator().manual_seed(3)
    state = {
        name: torch.randn(value.shape, generator=generator) * 0.2 if "lora_B" in name else value
        for name, value in general.adapter_state().items()
    }
    assert packed.adapter_state().keys() == state.keys()
    for name, value in general.adapter_state().items():
        assert value.equal(packed.adapter_state()[name]), name
    general.load_adapter_state(state)
    packed.load_adapter_state(state)
    return general, packed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_training_equals_the_general_path(compiled: bool, tmp_path: Path, kind: str, lengths: str) -> None:
    general, packed = _both(build_tiny_decoder(tmp_path / "base", kind), {}, compiled=compiled)
    for step in range(3):
        batch = token_batch(LENGTHS[lengths], seed=step)
        scale = 1 / int((batch.targets >= 0).sum())
        expected, found = general.accumulate(batch, scale), packed.accumulate(batch, scale)
        assert float(found) * scale == pytest.approx(float(expected) * scale, rel=1e-5)
        assert float(packed.step(1e-3)) == pytest.approx(float(general.step(1e-3)), rel=1e-4)
    np.testing.assert_allclose(packed.outputs(batch)[..., 0], general.outputs(batch)[..., 0], atol=3e-4)
    for name, value in general.adapter_state().items():
        np.testing.assert_allclose(packed.adapter_state()[name].numpy(), value.numpy(), atol=1e-4, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_near_the_general_path(compiled: bool, tmp_path: Path, kind: str) -> None:
    general, packed = _both(build_tiny_decoder(tmp_path / "base", kind), {}, compiled=compiled, precision="bf16")
    batch = token_batch(LENGTHS["long"])
    assert float(packed.accumulate(batch, 1.0)) == pytest.approx(float(general.accumulate(batch, 1.0)), rel=2e-2)
    assert float(packed.step(1e-3)) == pytest.approx(float(general.step(1e-3)), rel=5e-2)


@pytest.mark.parametrize(
    "lora",
    [
        {"target_modules": "auto"},
        {"target_modules": ["v_proj"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [0]},
        {"target_modules": ["o_proj"], "use_rslora": True},
        {"target_modules": ["down_proj"]},
        {"target_modules": ["gate_proj"], "layers_to_transform": [1]},
    ],
    ids=str,
)
def test_partial_adapters_equal_the_general_path(compiled: bool, tmp_path: Path, lora: dict[str, Any]) -> None:
    general, packed = _both(build_tiny_decoder(tmp_path / "base"), lora, compiled=compiled)
    assert packed.trainable_parameters == general.trainable_parameters
    assert packed.total_parameters == general.total_parameters
    for step in range(2):
        batch = token_batch([20, 11, 7], seed=step)
        assert float(packed.accumulate(batch, 0.1)) == pytest.approx(float(general.accumulate(batch, 0.1)), rel=1e-5)
        assert float(packed.step(1e-3)) == pytest.approx(float(general.step(1e-3)), rel=1e-4)


def test_a_row_does_not_know_those_beside_it(compiled: bool, tmp_path: Path) -> None:
    _, packed = _both(build_tiny_decoder(tmp_path / "base"), {}, compiled=compiled)
    batch = token_batch([40, 30, 9, 1])
    together = packed.outputs(batch)
    for row in range(len(batch)):
        one = token_batch([40, 30, 9, 1])
        length = int(one.lengths[row])
        alone = packed.outputs(
            type(one)(
                one.rows[[row]],
                one.input_ids[[row], :length],
                one.attention_mask[[row], :length],
                None,
                one.targets[[row], :length],
                one.lengths[[row]],
            )
        )
        np.testing.assert_allclose(alone[0], together[row, :length], atol=1e-5)


def test_the_lent_model_and_the_base_are_those_of_the_general_path(compiled: bool, tmp_path: Path) -> None:
    general, packed = _both(build_tiny_decoder(tmp_path / "base"), {}, compiled=compiled)
    batch = token_batch([20, 11, 7])
    before = packed.outputs(batch)
    ids = torch.from_numpy(batch.input_ids)
    with packed.lend_base() as lent, general.lend_base() as own:
        np.testing.assert_allclose(packed.outputs(batch)[..., 0], general.outputs(batch)[..., 0], atol=1e-4)
        assert np.abs(packed.outputs(batch) - before).max() > 1e-3
        torch.testing.assert_close(lent(input_ids=ids).logits, own(input_ids=ids).logits)
    np.testing.assert_array_equal(packed.outputs(batch), before)
    with packed.lend() as lent, general.lend() as own:
        torch.testing.assert_close(lent(input_ids=ids).logits, own(input_ids=ids).logits)
