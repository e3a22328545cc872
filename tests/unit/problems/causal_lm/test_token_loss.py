"""The loss of supervised tokens: the same numbers and gradients as PyTorch's own, in far less memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM, GraniteConfig, GraniteForCausalLM

from finetune30.data.encoding import IGNORED
from finetune30.errors import ModelError
from finetune30.problems.causal_lm import token_loss
from finetune30.problems.causal_lm.token_loss import LogitsHead, find_head, hidden_states, token_losses
from finetune30.training import vocabulary_losses
from support.chat_models import build_tiny_chat


def head_of(*, bias=False, cap=None, factor=1.0, trains=False, dtype=torch.float32):
    torch.manual_seed(0)
    linear = nn.Linear(16, 50, bias=bias).to(dtype)
    linear.requires_grad_(trains)
    return LogitsHead(linear, factor, cap)


def plain_losses(head, hidden, targets):
    return functional.cross_entropy(
        head.logits(hidden).flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
    ).view(targets.shape)


@pytest.mark.parametrize(
    "options",
    [{}, {"factor": 0.25}, {"bias": True}, {"cap": 3.0}, {"trains": True}],
    ids=["frozen", "factor", "bias", "cap", "trained"],
)
@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_losses_and_gradients_are_those_of_pytorch(options, rows, monkeypatch):
    for module in (token_loss, vocabulary_losses):
        monkeypatch.setattr(module, "chunk_rows", lambda vocabulary: rows)
    head = head_of(**options)
    hidden = torch.randn(3, 7, 16, requires_grad=True)
    targets = torch.randint(0, 50, (3, 7))
    targets[torch.rand(3, 7) < 0.5] = IGNORED
    expected = plain_losses(head, hidden, targets)
    weights = torch.rand_like(expected)
    wanted = torch.autograd.grad((expected * weights).sum(), [hidden, *_trained(head)])
    found = token_losses(head, hidden, targets)
    torch.testing.assert_close(found[..., 0], expected)
    got = torch.autograd.grad((found[..., 0] * weights).sum(), [hidden, *_trained(head)])
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)
    right = head.logits(hidden).argmax(dim=-1) == targets
    assert torch.equal(found[..., 1].bool(), right)


class Waiting(TorchDispatchMode):
    """Counts the operations for whose result a GPU would be waited for: how many, and which number."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in {torch.ops.aten.nonzero.default, torch.ops.aten._local_scalar_dense.default}:
            self.found.append(func)
        if "index" in str(func) and any(
            torch.is_tensor(place) and place.dtype == torch.bool
            for places in args
            if isinstance(places, (list, tuple))
            for place in places
        ):
            self.found.append(func)
        return func(*args, **(kwargs or {}))


def test_a_gpu_would_be_waited_for_once_to_learn_how_many_tokens_are_asked():
    hidden = torch.randn(2, 5, 16, requires_grad=True)
    targets = torch.tensor([[IGNORED, 3, 1, IGNORED, 2], [4, IGNORED, IGNORED, 0, 1]])
    with Waiting() as waiting:
        token_losses(head_of(), hidden, targets)[..., 0].sum().backward()
    assert waiting.found == [torch.ops.aten.nonzero.default]
    with Waiting() as waiting:  # the counter sees what it should
        assert float(hidden.detach()[targets != IGNORED].sum()) < 1e9
    assert len(waiting.found) == 2


def _trained(head):
    return [parameter for parameter in head.linear.parameters() if parameter.requires_grad]


def test_gradients_pass_the_numerical_check():
    head = head_of(dtype=torch.float64)
    hidden = torch.randn(1, 3, 16, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[4, IGNORED, 7]])
    expected = torch.autograd.grad(plain_losses(head, hidden, targets).sum(), hidden)[0]
    found = torch.autograd.grad(token_losses(head, hidden, targets)[..., 0].sum(), hidden)[0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_rows_without_a_supervised_token_cost_nothing_and_give_no_nan():
    hidden = torch.randn(2, 4, 16, requires_grad=True)
    for head in (head_of(), head_of(cap=2.0)):
        found = token_losses(head, hidden, torch.full((2, 4), IGNORED))
        found[..., 0].sum().backward()
        assert found.abs().sum() == 0
        assert hidden.grad is not None
        assert hidden.grad.abs().sum() == 0


def test_the_logits_of_a_model_are_made_as_it_makes_them(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(build_tiny_chat(tmp_path)).requires_grad_(False)
    head = find_head(model)
    assert head.is_plain
    tokens = torch.tensor([[5, 6, 7, 8]])
    torch.testing.assert_close(head.logits(hidden_states(model, {"input_ids": tokens})), model(input_ids=tokens).logits)


def test_caps_and_factors_of_families_are_known():
    small: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    gemma = Gemma2ForCausalLM(Gemma2Config(**small, final_logit_softcapping=5.0))
    assert find_head(gemma).cap == 5.0
    del small["head_dim"]
    granite = GraniteForCausalLM(GraniteConfig(**small, logits_scaling=8.0))
    assert find_head(granite).factor == pytest.approx(1 / 8)


def test_a_model_that_makes_other_logits_is_refused(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(build_tiny_chat(tmp_path))
    own = model.forward

    def shifted(*args, **kwargs):
        answer = own(*args, **kwargs)
        answer.logits = answer.logits * 3
        return answer

    model.forward = shifted
    with pytest.raises(ModelError, match="make their logits in a way"):
        find_head(model)
