"""The explicit backward pass against autograd, in float64, with dropout on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from finetune30.training.packed.engine import loss_with_gradient
from finetune30.training.packed.layout import AskingTokens, first_tokens
from finetune30.training.packed.model import PackedModel
from support.engines import configure, switch_off_dropout
from support.packed import LAYOUTS, build_model, every_third_token, last_two_tokens, lay_out
from support.tiny_models import build_tiny_model

summed_cross_entropy = partial(torch.nn.functional.cross_entropy, reduction="sum")
#: All linear layers of the layers by the ends of their names.
NAMES = {
    "distilbert": ["q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"],
    "bert": ["query", "key", "value", "dense"],
    "roberta": ["query", "key", "value", "dense"],
}


def _loss(model: PackedModel, lengths: list[int], asking: AskingTokens, *, backward: bool) -> float:
    """Run a batch whose tokens, labels and dropout masks are always the same ones."""
    layout = lay_out(model, lengths, asking)
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(5, 40, (layout.total,), generator=generator)
    labels = torch.randint(0, 3, (len(layout.asking),), generator=generator)
    masks = model.parts.masks(9)
    with torch.no_grad():
        rows = model.backbone.embed(ids, None, layout, masks)
        asked, tapes = model.backbone.forward(rows, layout, masks)
        logits, tape = model.head.forward(asked, labels, masks)
        loss, gradient = loss_with_gradient(summed_cross_entropy, logits, labels)
        if backward:
            model.backbone.backward(model.head.backward(gradient, tape), tapes, layout)
    return float(loss)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("family", "asks"),
    [
        ("distilbert", first_tokens),
        ("bert", first_tokens),
        ("roberta", first_tokens),
        ("bert", every_third_token),
        ("distilbert", last_two_tokens),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_gradient_equals_finite_differences_with_dropout(
    compiled: bool, tmp_path: Path, family: str, asks: Callable[[NDArray[np.int64]], AskingTokens], layout: str
) -> None:
    model = build_model(build_tiny_model(tmp_path / "base", family), NAMES[family], compiled=compiled)
    lengths = LAYOUTS[layout]
    asking = asks(np.asarray(lengths))
    _loss(model, lengths, asking, backward=True)
    values, gradient = model.weights.values, model.weights.gradients
    # Along random directions: each one tests every weight at once.
    for seed in range(4):
        direction = torch.randn(values.numel(), generator=torch.Generator().manual_seed(seed)).double()
        direction /= direction.norm()
        step, start = 1e-6, values.clone()
        values.copy_(start + step * direction)
        above = _loss(model, lengths, asking, backward=False)
        values.copy_(start - step * direction)
        below = _loss(model, lengths, asking, backward=False)
        values.copy_(start)
        assert float(gradient @ direction) == pytest.approx((above - below) / (2 * step), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient_of_each_weight_equals_autograd_in_float64(compiled: bool, tmp_path: Path, layout: str) -> None:
    from finetune30.modeling.adapters import build_adapter
    from finetune30.modeling.base import find_base
    from finetune30.modeling.classifier import load_classifier

    folder = build_tiny_model(tmp_path / "base", "bert")
    switch_off_dropout(folder)
    packed = build_model(folder, NAMES["bert"], compiled=compiled)
    config = configure(folder, lora={"target_modules": NAMES["bert"]})
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
    plan = lay_out(packed, LAYOUTS[layout])
    ids = torch.randint(5, 40, (plan.total,), generator=torch.Generator().manual_seed(4))
    grid = torch.zeros(inside.shape, dtype=torch.long)
    grid[inside] = ids[: plan.token_count]
    labels = torch.arange(len(sizes)) % 3
    expected = torch.nn.functional.cross_entropy(
        reference(input_ids=grid, attention_mask=inside.long()).logits, labels, reduction="sum"
    )
    expected.backward()
    with torch.no_grad():
        asked, tapes = packed.backbone.forward(packed.backbone.embed(ids, None, plan, None), plan, None)
        logits, tape = packed.head.forward(asked, labels, None)
        loss, gradient = loss_with_gradient(summed_cross_entropy, logits, labels)
        packed.backbone.backward(packed.head.backward(gradient, tape), tapes, plan)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        torch.testing.assert_close(packed.weights.gradient(name), parameter.grad, rtol=1e-9, atol=1e-11, msg=name)
