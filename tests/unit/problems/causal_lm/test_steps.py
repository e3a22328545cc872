"""A step of a language model: divided by its supervised tokens, however its rows are cut into passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finetune30.data.batching import collate, step_batches
from support.chat_models import build_tiny_chat
from support.language_engines import ROWS, build_language_engine


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def base(request, tmp_path_factory):
    return build_tiny_chat(tmp_path_factory.mktemp("chat"), tied=request.param)


def gradients(base, micro_batch, **training):
    engine, problem, split = build_language_engine(base, **training)
    order = np.arange(ROWS)
    weight = problem.weight(split, order)
    loss = sum(
        float(engine.accumulate(collate(split, rows, engine.pad_token_id), 1 / weight))
        for rows in step_batches(order, micro_batch)
    )
    found = {name: p.grad.clone() for name, p in engine._trainable.items() if p.grad is not None}
    return loss / weight, found


def test_a_step_is_the_same_in_passes_of_any_size(base):
    loss, wanted = gradients(base, ROWS)
    norm = torch.cat([g.flatten() for g in wanted.values()]).norm()
    assert norm > 0
    for micro_batch in (1, 2, 8):
        other, found = gradients(base, micro_batch)
        assert other == pytest.approx(loss, rel=1e-6)
        apart = torch.cat([(found[name] - wanted[name]).flatten() for name in wanted]).norm()
        assert float(apart / norm) <= 1e-5


def test_the_loss_is_that_of_the_model_itself(base):
    engine, problem, split = build_language_engine(base)
    rows = np.arange(ROWS)
    batch = collate(split, rows, engine.pad_token_id)
    model = engine._model.get_base_model().eval()
    inputs = {"input_ids": torch.from_numpy(batch.input_ids), "attention_mask": torch.from_numpy(batch.attention_mask)}
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[:, 1:] = torch.from_numpy(batch.targets)[:, :-1]
    with torch.no_grad():
        theirs = float(model(**inputs, labels=labels).loss)
    ours = engine.outputs(batch)[..., 0].sum() / problem.weight(split, rows)
    assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_adapter_moves_with_the_first_step(base, checkpointing):
    engine, problem, split = build_language_engine(base, gradient_checkpointing=checkpointing)
    rows = np.arange(ROWS)
    engine.accumulate(collate(split, rows, engine.pad_token_id), 1 / problem.weight(split, rows))
    engine.step(0.01)
    state = engine.adapter_state()
    names = [name for name in state if "lora_B" in name]
    assert len(names) == 2 * 7  # two layers: q, k, v, o, gate, up, down
    assert all(float(state[name].abs().max()) > 0 for name in names)


def test_checkpointing_changes_no_gradient(base):
    plain, checkpointed = gradients(base, 4), gradients(base, 4, gradient_checkpointing=True)
    assert plain[0] == pytest.approx(checkpointed[0], rel=1e-6)
    for name, gradient in plain[1].items():
        torch.testing.assert_close(checkpointed[1][name], gradient)


def test_the_language_head_is_left_alone(base):
    engine, _, _ = build_language_engine(base)
    assert not any("lm_head" in name or "embed" in name for name in engine.adapter_state())
