"""The packed path trains a language model as the general path does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.decoders import KINDS, build_both, build_tiny_decoder, token_batch

#: Rows of one token, of several, and of more than are worked on together.
LENGTHS = {"short": [9, 1, 5], "long": [48, 30, 17, 16, 2], "many": [48, 47, 46, 45, 44, 43, 42, 41, 40, 20]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lengths", LENGTHS)
def test_training_equals_the_general_path(compiled: bool, tmp_path: Path, kind: str, lengths: str) -> None:
    general, packed = build_both(build_tiny_decoder(tmp_path / "base", kind), {}, compiled=compiled)
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
    general, packed = build_both(build_tiny_decoder(tmp_path / "base", kind), {}, compiled=compiled, precision="bf16")
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
    general, packed = build_both(build_tiny_decoder(tmp_path / "base"), lora, compiled=compiled)
    assert packed.trainable_parameters == general.trainable_parameters
    assert packed.total_parameters == general.total_parameters
    for step in range(2):
        batch = token_batch([20, 11, 7], seed=step)
        assert float(packed.accumulate(batch, 0.1)) == pytest.approx(float(general.accumulate(batch, 0.1)), rel=1e-5)
        assert float(packed.step(1e-3)) == pytest.approx(float(general.step(1e-3)), rel=1e-4)


def test_a_row_does_not_know_those_beside_it(compiled: bool, tmp_path: Path) -> None:
    _, packed = build_both(build_tiny_decoder(tmp_path / "base"), {}, compiled=compiled)
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
