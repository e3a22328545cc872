"""Rows behind each other in one sequence: where they lie, and which models keep them apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finetune30.config.loading import validate_tree
from finetune30.data.batching import Batch, collate, step_batches
from finetune30.data.encoding import IGNORED
from finetune30.errors import ModelError
from finetune30.modeling.base import find_base
from finetune30.modeling.devices import choose_placement
from finetune30.problems.trainables import load_trainable
from finetune30.training.packing import choose_packing, pack
from finetune30.training.paths import build_encoder, build_engine
from support.chat_models import build_tiny_chat

Bases = Callable[[str], Path]
ROWS = 12
WORDS = ("where", "is", "the", "shop", "we", "sell", "tea")


def batch_of(lengths: list[int]) -> Batch:
    width = max(lengths)
    inside = np.arange(width)[None, :] < np.asarray(lengths)[:, None]
    ids = np.where(inside, np.arange(len(lengths))[:, None] * 10_000 + np.arange(width) + 1, 0)
    targets = np.where(inside, ids + 1, IGNORED)
    return Batch(np.arange(len(lengths)), ids, inside.astype(np.int64), None, targets, np.asarray(lengths))


@pytest.mark.parametrize("seed", range(20))
def test_every_token_lies_in_one_place_with_its_position_and_target(seed: int) -> None:
    generator = np.random.default_rng(seed)
    lengths = [int(n) for n in generator.integers(1, generator.choice([3, 200, 1500]), generator.integers(1, 30))]
    batch = batch_of(lengths)
    packed = pack(batch, pad_token_id=0)
    assert packed.input_ids.shape[1] <= max(1024, *lengths)
    assert int((packed.input_ids != 0).sum()) == sum(lengths)
    for row, (sequence, start) in enumerate(packed.places):
        part = slice(start, start + lengths[row])
        assert packed.input_ids[sequence, part].tolist() == batch.input_ids[row, : lengths[row]].tolist()
        assert packed.targets[sequence, part].tolist() == batch.targets[row, : lengths[row]].tolist()
        assert packed.position_ids[sequence, part].tolist() == list(range(lengths[row]))
    rest = packed.input_ids == 0
    assert (packed.targets[rest] == IGNORED).all()
    for sequence in range(len(rest)):  # what fills the end is a row of its own
        assert packed.position_ids[sequence][rest[sequence]].tolist() == list(range(int(rest[sequence].sum())))


def built(folder: Path) -> tuple[Any, Any, Any]:
    config = validate_tree(
        {
            "model": {"name": str(folder), "problem_type": "causal_lm", "dropout": None},
            "lora": {"lora_dropout": 0.0},
            "training": {"precision": "fp32", "device": "cpu"},
        }
    )
    source = find_base(config.model)
    problem = load_trainable("causal_lm", {}).with_base(source, config, lambda _: None)
    encoder: Any = build_encoder("general", source, 256, problem)
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, n)) for n in generator.integers(1, 40, ROWS)]
    rows = [
        json.dumps({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": text}]})
        for text in texts
    ]
    engine = build_engine("general", config, source, problem, choose_placement("cpu", "fp32"))
    return engine, problem, encoder.encode_rows(rows, 256)


KEPT_APART = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "gpt2", "gpt_neox", "mixtral")
READ_EACH_OTHER = ("opt", "falcon", "lfm2")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    def make(family: str) -> Path:
        folder = tmp_path_factory.getbasetemp() / f"packing-{family}"
        return folder if folder.exists() else build_tiny_chat(folder, family=family)

    return make


@pytest.mark.parametrize("family", KEPT_APART)
def test_a_packed_step_is_the_padded_one(bases: Bases, family: str) -> None:
    found = {}
    for packs in (False, True):
        engine, problem, split = built(bases(family))
        assert choose_packing(engine, split, "on")[0]
        engine.packs = packs
        rows = np.arange(ROWS)
        weight = problem.weight(split, rows)
        for part in step_batches(rows, 8):
            engine.accumulate(collate(split, part, engine.pad_token_id), 1 / weight)
        found[packs] = torch.cat([p.grad.flatten() for p in engine._trainable.values()])
    assert float((found[True] - found[False]).norm() / found[False].norm()) <= 1e-5


@pytest.fixture(scope="module")
def padded_gradient(bases: Bases) -> torch.Tensor:
    return gradient_of(bases("llama"), 8, packs=False, attention="sdpa")


def gradient_of(base: Path, size: int, *, packs: bool, attention: str) -> torch.Tensor:
    """Return the gradient of a step in passes of `size` rows."""
    engine, problem, split = built(base)
    engine.model.set_attn_implementation(attention)
    assert engine.model.config._attn_implementation == attention
    assert choose_packing(engine, split, "on")[0]
    engine.packs = packs
    rows = np.arange(ROWS)
    for part in step_batches(rows, size):
        engine.accumulate(collate(split, part, engine.pad_token_id), 1 / problem.weight(split, rows))
    return torch.cat([p.grad.flatten() for p in engine._trainable.values()])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("size", [1, 3, ROWS])
def test_a_packed_step_is_the_same_in_passes_of_any_size_under_each_attention(
    bases: Bases, padded_gradient: torch.Tensor, size: int, attention: str
) -> None:
    packed = gradient_of(bases("llama"), size, packs=True, attention=attention)
    assert float((packed - padded_gradient).norm() / padded_gradient.norm()) <= 1e-5


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_models_that_mix_the_rows_of_a_sequence_are_noticed_under_each_attention(bases: Bases, attention: str) -> None:
    engine, _, split = built(bases("opt"))
    engine.model.set_attn_implementation(attention)
    with pytest.raises(ModelError, match="rows in one sequence read each other"):
        choose_packing(engine, split, "on")


@pytest.mark.parametrize("family", READ_EACH_OTHER)
def test_models_that_mix_the_rows_of_a_sequence_are_not_packed(bases: Bases, family: str) -> None:
    engine, _, split = built(bases(family))
    with pytest.raises(ModelError, match="packing is on, but rows in one sequence read each other"):
        choose_packing(engine, split, "on")


def test_models_that_take_no_positions_are_not_packed(bases: Bases) -> None:
    engine, _, split = built(bases("bloom"))
    with pytest.raises(ModelError, match="models of type 'bloom' take no positions"):
        choose_packing(engine, split, "on")


def test_a_row_that_is_answered_otherwise_than_alone_is_noticed(bases: Bases, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _, split = built(bases("llama"))
    whole = engine.packed_outputs
    monkeypatch.setattr(engine, "packed_outputs", lambda packed: whole(packed) + 0.01)
    with pytest.raises(ModelError, match=r"otherwise than alone \(by 0.01 nats a token\)"):
        choose_packing(engine, split, "on")


def test_off_and_auto_on_a_cpu_ask_nothing(bases: Bases) -> None:
    engine, _, split = built(bases("opt"))
    assert choose_packing(engine, split, "off") == (False, "as configured")
    assert choose_packing(engine, split, "auto")[0] is False
