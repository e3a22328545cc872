"""The packed path goes on with tokens as transformers does, by its own weights, with the adapter and without it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finetune30.modeling.conversations.generation import NextTokens, Sampling, generate
from finetune30.training.packed.key_values import KeyValues
from support.decoders import KINDS, build_both, build_tiny_decoder, token_batch

#: Prompts of one token, of several, and one with which Mistral's window of 64 tokens is left behind.
LENGTHS, STEPS = (40, 1, 9), 30


def _prompts(lengths: Sequence[int]) -> list[list[int]]:
    generator = np.random.default_rng(7)
    return [generator.integers(3, 300, length).tolist() for length in lengths]


def _theirs(model: Any, prompt: list[int], count: int) -> list[int]:
    """Return what transformers' own greedy search finds."""
    asked = torch.tensor([prompt])
    with torch.inference_mode():
        found = model.generate(
            input_ids=asked,
            attention_mask=torch.ones_like(asked),
            do_sample=False,
            max_new_tokens=count,
            eos_token_id=None,
            pad_token_id=2,
        )
    return list(found[0, len(prompt) :].tolist())


def _ours(model: NextTokens, prompts: list[list[int]], sampling: Sampling) -> list[list[int]]:
    return [found.ids for found in generate(model, prompts, frozenset(), sampling)]


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_answers_are_those_of_transformers(compiled: bool, tmp_path: Path, kind: str) -> None:
    general, packed = build_both(build_tiny_decoder(tmp_path / "base", kind), {}, compiled=compiled)
    prompts, found = _prompts(LENGTHS), []
    for lend in ("lend", "lend_base"):
        with getattr(general, lend)() as theirs, getattr(packed, lend)() as ours:
            wanted = [_theirs(theirs.model, prompt, STEPS) for prompt in prompts]
            assert _ours(ours, prompts, Sampling(STEPS)) == wanted
            assert [_ours(ours, [prompt], Sampling(STEPS))[0] for prompt in prompts] == wanted
        found.append(wanted)
    assert found[0] != found[1]


@pytest.mark.parametrize("kind", KINDS)
def test_logits_of_each_step_are_those_of_a_whole_forward_pass(compiled: bool, tmp_path: Path, kind: str) -> None:
    general, packed = build_both(build_tiny_decoder(tmp_path / "base", kind), {}, compiled=compiled)
    texts = dict(enumerate(_prompts(LENGTHS)))
    new = dict(texts)
    with general.lend() as theirs, packed.lend() as ours:
        rows = ours.begin(len(texts))
        for step in range(STEPS):
            logits = rows.read(new)
            assert logits.dtype == torch.float32
            assert bool(torch.isfinite(logits).all())
            for row, of_row in zip(new, logits, strict=True):
                whole = theirs.model(input_ids=torch.tensor([texts[row]])).logits[0, -1]
                torch.testing.assert_close(of_row, whole, atol=1e-4, rtol=1e-4)
            # After a while one of them goes on no more.
            new = {row: [3 + (step * 17 + row) % 290] for row in texts if row != 1 or step < STEPS // 2}
            texts |= {row: texts[row] + token for row, token in new.items()}


def test_a_row_does_not_know_those_beside_it(compiled: bool, tmp_path: Path) -> None:
    """Some are read in parts, since there are more tokens than are worked on together."""
    _, packed = build_both(build_tiny_decoder(tmp_path / "base"), {}, compiled=compiled)
    prompts = _prompts([200, 150, 120, 90, 7, 1, 1, 30])
    with packed.lend() as ours, torch.inference_mode():
        together, alone = ours.begin(len(prompts)), [ours.begin(1) for _ in prompts]
        for new in (prompts, [[5]] * len(prompts), [[6]] * len(prompts)):
            logits = together.read(dict(enumerate(new)))
            for of_row, row, tokens in zip(logits, alone, new, strict=True):
                (own,) = row.read({0: tokens})
                if compiled:
                    assert torch.equal(of_row, own)
                torch.testing.assert_close(of_row, own, atol=1e-4, rtol=1e-4)
        assert _ours(ours, prompts, Sampling(6)) == [_ours(ours, [one], Sampling(6))[0] for one in prompts]


def test_a_seed_draws_what_it_draws_on_the_general_path(compiled: bool, tmp_path: Path) -> None:
    general, packed = build_both(build_tiny_decoder(tmp_path / "base"), {}, compiled=compiled)
    prompts = _prompts([9])
    with general.lend() as theirs, packed.lend() as ours:
        for sampling in (Sampling(20, 1.0, seed=1), Sampling(20, 0.7, top_p=0.8, top_k=20, seed=2)):
            drawn = [_ours(model, prompts, sampling) for model in (ours, ours, theirs)]
            assert drawn[0] == drawn[1] == drawn[2]


def test_the_base_is_lent_for_as_long_and_no_longer(compiled: bool, tmp_path: Path) -> None:
    general, packed = build_both(build_tiny_decoder(tmp_path / "base"), {}, compiled=compiled)
    batch, prompts = token_batch([20, 11, 7]), _prompts([9])
    before = packed.outputs(batch)
    with packed.lend() as ours:
        tuned = _ours(ours, prompts, Sampling(8))
    with packed.lend_base() as ours, general.lend_base():
        assert _ours(ours, prompts, Sampling(8)) != tuned
        np.testing.assert_allclose(packed.outputs(batch)[..., 0], general.outputs(batch)[..., 0], atol=1e-4)
        assert np.abs(packed.outputs(batch) - before).max() > 1e-3
    np.testing.assert_array_equal(packed.outputs(batch), before)
    with packed.lend() as ours:
        assert _ours(ours, prompts, Sampling(8)) == tuned


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_near_the_general_path(compiled: bool, tmp_path: Path, kind: str) -> None:
    base = build_tiny_decoder(tmp_path / "base", kind)
    general, packed = build_both(base, {}, compiled=compiled, precision="bf16")
    new = dict(enumerate(_prompts(LENGTHS)))
    with general.lend() as theirs, packed.lend() as ours, torch.inference_mode():
        read = [model.begin(len(new)) for model in (theirs, ours)]
        for _ in range(3):
            wanted, found = (rows.read(new) for rows in read)
            assert float((found - wanted).norm() / wanted.norm()) < 0.03
            new = {row: [5] for row in new}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, {2}),
        ({"generation_config.json": {"eos_token_id": [4, 5]}}, {4, 5}),
        ({"generation_config.json": {}}, set()),
        ({"generation_config.json": None}, {2}),
        ({"generation_config.json": None, "config.json": {"eos_token_id": None}}, set()),
    ],
    ids=str,
)
def test_answers_end_where_transformers_would_end_them(tmp_path: Path, files: Any, expected: set[int]) -> None:
    folder = build_tiny_decoder(tmp_path / "base")
    for name, content in files.items():
        path = folder / name
        if content is None:
            path.unlink()
        else:
            known = json.loads(path.read_text()) if name == "config.json" else {}
            path.write_text(json.dumps(known | content))
    general, packed = build_both(folder, {}, compiled=False)
    with general.lend() as theirs, packed.lend() as ours:
        assert ours.end_tokens == theirs.end_tokens == expected
        assert ours.positions == theirs.positions == 256


def test_tokens_that_look_at_different_windows_are_refused() -> None:
    kept = KeyValues(1, 2, 16, torch.float32, window=8)
    kept.grow({0: 8, 1: 3})
    kept.grow({0: 1, 1: 5})
    with pytest.raises(ValueError, match="one at a time"):
        kept.grow({0: 1, 1: 2})
