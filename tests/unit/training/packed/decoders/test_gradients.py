"""The explicit backward pass of a decoder against autograd and finite differences, in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finetune30.data.encoding import IGNORED
from finetune30.modeling.adapters import build_adapter
from finetune30.modeling.base import find_base
from finetune30.modeling.causal import load_causal
from finetune30.training.packed.engine import loss_with_gradient
from finetune30.training.packed.layout import PackedLayout, build_layout
from finetune30.training.packed.model import PackedModel
from finetune30.training.packed.parts.dropout import MaskSource
from support.decoders import KINDS, build_tiny_decoder, configure_decoder, token_batch
from support.packed import build_with_random_weights

LENGTHS = [30, 28, 9, 1, 17]


def _first_column(outputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return outputs[:, 0].sum()


def _layout(model: PackedModel, batch: Any) -> PackedLayout:
    return build_layout(batch.lengths, model.head.asking(batch), 4, torch.float64, with_grid=False, few_sizes=True)


def _loss(model: PackedModel, batch: Any, masks: MaskSource | None, *, backward: bool) -> float:
    layout, wanted = _layout(model, batch), model.head.wanted(batch)
    ids = torch.zeros(layout.total, dtype=torch.long)
    ids[: layout.token_count] = torch.from_numpy(batch.input_ids[batch.attention_mask > 0])
    with torch.no_grad():
        asked, tapes = model.backbone.forward(model.backbone.embed(ids, None, layout, masks), layout, masks)
        outputs, tape = model.head.forward(asked, wanted, masks)
        loss, gradient = loss_with_gradient(_first_column, outputs, wanted)
        if backward:
            model.backbone.backward(model.head.backward(gradient, tape), tapes, layout)
    return float(loss)


def _norm_in_float64(model: torch.nn.Module) -> None:
    """Let the norms of transformers compute in their inputs' type: they round to float32 otherwise."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            known: Any = module

            def forward(rows: torch.Tensor, norm: Any = known) -> Any:
                return norm.weight * rows * torch.rsqrt(rows.square().mean(-1, keepdim=True) + norm.variance_epsilon)

            known.forward = forward


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_each_weight_equals_autograd_in_float64(compiled: bool, tmp_path: Path, kind: str) -> None:
    folder = build_tiny_decoder(tmp_path / "base", kind)
    config = configure_decoder(folder)
    packed = build_with_random_weights(config, compiled=compiled)
    source = find_base(config.model)
    reference = build_adapter(
        load_causal(source, 2), config.lora, source, [], 1, task_type="CAUSAL_LM", trains_head=False
    ).double()
    _norm_in_float64(reference)
    parameters = {
        name.replace("base_model.model.", "").replace(".default", ""): parameter
        for name, parameter in reference.named_parameters()
        if parameter.requires_grad
    }
    assert parameters.keys() == set(packed.weights.names)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(packed.weights.value(name))
    batch = token_batch(LENGTHS)
    logits = reference.eval()(
        input_ids=torch.from_numpy(batch.input_ids), attention_mask=torch.from_numpy(batch.attention_mask)
    ).logits
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), torch.from_numpy(batch.targets).flatten(), ignore_index=IGNORED, reduction="sum"
    )
    expected.backward()
    assert _loss(packed, batch, None, backward=True) == pytest.approx(expected.item(), rel=1e-12)
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        torch.testing.assert_close(packed.weights.gradient(name), parameter.grad, rtol=1e-9, atol=1e-10, msg=name)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_gradient_equals_finite_differences_with_dropout(compiled: bool, tmp_path: Path, kind: str) -> None:
    folder = build_tiny_decoder(tmp_path / "base", kind)
    model = build_with_random_weights(configure_decoder(folder, lora={"lora_dropout": 0.25}), compiled=compiled)
    batch = token_batch(LENGTHS)
    _loss(model, batch, model.parts.masks(9), backward=True)
    values, gradients = model.weights.values, model.weights.gradients
    for seed in range(3):  # along random directions: each one tests every weight at once
        direction = torch.randn(values.numel(), generator=torch.Generator().manual_seed(seed)).double()
        direction /= direction.norm()
        step, start = 1e-6, values.clone()
        values.copy_(start + step * direction)
        above = _loss(model, batch, model.parts.masks(9), backward=False)
        values.copy_(start - step * direction)
        below = _loss(model, batch, model.parts.masks(9), backward=False)
        values.copy_(start)
        slope = (above - below) / (2 * step)
        assert float(gradients @ direction) == pytest.approx(slope, rel=1e-5, abs=1e-6)
    assert np.isfinite(float(gradients.norm()))
