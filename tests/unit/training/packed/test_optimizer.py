"""The flat AdamW takes the steps of torch.optim.AdamW after clip_grad_norm_, with and without the fused operator."""

from __future__ import annotations

import pytest
import torch

from finetune30.training.packed.optimizer import AdamWSettings, FlatAdamW
from finetune30.training.packed.parameters import TrainableWeights


def _initial() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"bias": torch.randn(7, generator=generator), "weight": torch.randn(5, 7, generator=generator)}


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("max_grad_norm", [0.0, 0.5, 1e6])
def test_steps_are_those_of_torch(fused: bool, weight_decay: float, max_grad_norm: float) -> None:
    weights = TrainableWeights(_initial(), torch.float32)
    settings = AdamWSettings(0.9, 0.99, 1e-8, weight_decay, max_grad_norm)
    optimizer = FlatAdamW(weights, settings)
    assert optimizer._has_fused, "this PyTorch has no fused AdamW"
    optimizer._has_fused = fused
    expected = {name: torch.nn.Parameter(value.clone()) for name, value in _initial().items()}
    groups = [
        {"params": [expected["weight"]], "weight_decay": weight_decay},
        {"params": [expected["bias"]], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=0.1, betas=(0.9, 0.99), eps=1e-8)
    generator = torch.Generator().manual_seed(1)
    for step in range(6):
        for name, parameter in expected.items():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            weights.gradient(name).copy_(parameter.grad)
        norm = torch.nn.utils.clip_grad_norm_(expected.values(), max_grad_norm or float("inf"))
        reference.step()
        torch.testing.assert_close(optimizer.step(0.1), norm, msg=str(step))
        assert not weights.gradients.any()
        for name, parameter in expected.items():
            torch.testing.assert_close(weights.value(name), parameter.data, rtol=1e-5, atol=1e-6, msg=f"{step} {name}")


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_a_norm_that_is_not_finite_changes_nothing(fused: bool) -> None:
    weights = TrainableWeights(_initial(), torch.float32)
    optimizer = FlatAdamW(weights, AdamWSettings(0.9, 0.99, 1e-8, 0.1, 1.0))
    optimizer._has_fused = fused
    before = optimizer.state() | weights.state()
    weights.gradients.fill_(torch.nan)
    assert not optimizer.step(0.1).isfinite()
    assert not weights.gradients.any()
    for name, value in (optimizer.state() | weights.state()).items():
        assert value.equal(before[name]), name
