"""The explicit backward pass against autograd, in float64, with dropout on."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from finetune30.modeling.base import find_base
from finetune30.training.packed.base_weights import BaseWeights
from finetune30.training.packed.building import build_packed_model
from finetune30.training.packed.engine import loss_with_gradient
from finetune30.training.packed.families import find_family
from finetune30.training.packed.layout import PackedLayout, build_layout, first_tokens
from finetune30.training.packed.model import PackedModel
from finetune30.training.packed.support import plan_of
from support.engines import configure, switch_off_dropout
from support.present import present
from support.tiny_models import build_tiny_model

summed_cross_entropy = partial(torch.nn.functional.cross_entropy, reduction="sum")
LAYOUTS = {"joint": [13, 5, 9], "grid": [30, 28, 9, 3, 30, 27], "full grid": [16, 16, 16, 16, 16]}


def _model(folder: Path, target_modules: list[str], *, compiled: bool) -> PackedModel:
    config = configure(folder, lora={"target_modules": target_modules, "lora_dropout": 0.25})
    source = find_base(config.model)
    described = source.load_json("config.json")
    family = present(find_family(described))
    shape, base = family.shape(described, outputs=3), BaseWeights(source.folder, family.spellings)
    model = build_packed_model(
        family,
        shape,
        plan_of(config.lora, family, shape, base),
        base,
        seed=1,
        dtype=torch.float64,
        master_dtype=torch.float64,
        compiled=compiled,
    )
    model.weights.values.copy_(torch.randn(model.weights.count, generator=torch.Generator().manual_seed(5)).double())
    model.weights.values.mul_(0.3)
    return model


def _layout(model: PackedModel, lengths: NDArray[np.int64]) -> PackedLayout:
    grid = model.parts.needs_grid
    return build_layout(lengths, first_tokens(lengths), 2, torch.float64, with_grid=grid, few_sizes=True)


def _loss(model: PackedModel, lengths: list[int], *, backward: bool) -> float:
    """Run a batch whose tokens, labels and dropout masks are always the same ones."""
    layout = _layout(model, np.asarray(lengths))
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(5, 40, (layout.total,), generator=generator)
    labels = torch.randint(0, 3, (len(lengths),), generator=generator)
    masks = model.parts.masks(9)
    with torch.no_grad():
        rows = model.encoder.embed(ids, None, layout, masks)
        asked, tapes = model.encoder.forward(rows, layout, masks)
        logits, tape = model.head.forward(asked, masks)
        loss, gradient = loss_with_gradient(summed_cross_entropy, logits, labels)
        if backward:
            model.encoder.backward(model.head.backward(gradient, tape), tapes, layout)
    return float(loss)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", ["distilbert", "bert", "roberta"])
def test_gradient_equals_finite_differences_with_dropout(
    compiled: bool, tmp_path: Path, family: str, layout: str
) -> None:
    folder = build_tiny_model(tmp_path / "base", family)
    names = ["q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"]
    model = _model(folder, names if family == "distilbert" else ["query", "key", "value", "dense"], compiled=compiled)
    lengths = LAYOUTS[layout]
    _loss(model, lengths, backward=True)
    values, gradient = model.weights.values, model.weights.gradients
    # Along random directions: each one tests every weight at once.
    for seed in range(4):
        direction = torch.randn(values.numel(), generator=torch.Generator().manual_seed(seed)).double()
        direction /= direction.norm()
        step, start = 1e-6, values.clone()
        values.copy_(start + step * direction)
        above = _loss(model, lengths, backward=False)
        values.copy_(start - step * direction)
        below = _loss(model, lengths, backward=False)
        values.copy_(start)
        assert float(gradient @ direction) == pytest.approx((above - below) / (2 * step), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient_of_each_weight_equals_autograd_in_float64(compiled: bool, tmp_path: Path, layout: str) -> None:
    from finetune30.modeling.adapters import build_adapter
    from finetune30.modeling.base import load_classifier

    folder = build_tiny_model(tmp_path / "base", "bert")
    switch_off_dropout(folder)
    names = ["query", "key", "value", "dense"]
    packed = _model(folder, names, compiled=compiled)
    config = configure(folder, lora={"target_modules": names})
    source = find_base(config.model)
    classifier, new = load_classifier(
        source, label_names=(), num_labels=3, problem_type="single_label_classification", pad_token_id=0
    )
    reference = build_adapter(classifier, config.lora, source, new, 1).double().eval()
    parameters = {
        name.replace("base_model.model.", "").replace(".default", "").replace(".modules_to_save", ""): parameter
        for name, parameter in reference.named_parameters()
        if parameter.requires_grad
    }
    assert parameters.keys() == set(packed.weights.names)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(packed.weights.value(name))
    sizes = torch.tensor(LAYOUTS[layout])
    inside = torch.arange(int(sizes.max()))[None] < sizes[:, None]
    plan = _layout(packed, sizes.numpy())
    ids = torch.randint(5, 40, (plan.total,), generator=torch.Generator().manual_seed(4))
    grid = torch.zeros(inside.shape, dtype=torch.long)
    grid[inside] = ids[: plan.token_count]
    labels = torch.arange(len(sizes)) % 3
    expected = torch.nn.functional.cross_entropy(
        reference(input_ids=grid, attention_mask=inside.long()).logits, labels, reduction="sum"
    )
    expected.backward()
    with torch.no_grad():
        asked, tapes = packed.encoder.forward(packed.encoder.embed(ids, None, plan, None), plan, None)
        logits, tape = packed.head.forward(asked, None)
        loss, gradient = loss_with_gradient(summed_cross_entropy, logits, labels)
        packed.encoder.backward(packed.head.backward(gradient, tape), tapes, plan)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        torch.testing.assert_close(packed.weights.gradient(name), parameter.grad, rtol=1e-9, atol=1e-11, msg=name)
