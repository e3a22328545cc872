"""The compiled parts of a decoder's layer give what PyTorch's operators give, for any rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from finetune30.training.packed.layout import PackedLayout, build_layout, first_tokens
from finetune30.training.packed.native.causal_attention import NativeCausalAttention
from finetune30.training.packed.native.decoder import NativeGate, NativeRmsNorm, NativeRotary
from finetune30.training.packed.native.library import Kernels, describe_kernels, find_kernels
from finetune30.training.packed.native.vocabulary import NativeVocabulary
from finetune30.training.packed.parts.attention import Projections
from finetune30.training.packed.parts.causal_attention import CausalAttention, PlainCausalAttention
from finetune30.training.packed.parts.gate import PlainGate
from finetune30.training.packed.parts.rms_norm import PlainRmsNorm
from finetune30.training.packed.parts.rotary import PlainRotary
from finetune30.training.packed.parts.vocabulary import PlainVocabulary
from support.present import present

pytestmark = pytest.mark.skipif(describe_kernels() == "none", reason="the kernels were not compiled here")
DTYPES = [torch.float32, torch.bfloat16, torch.float64]
CLOSE: dict[torch.dtype, dict[str, Any]] = {
    torch.float32: {"rtol": 1e-4, "atol": 1e-4},
    torch.bfloat16: {"rtol": 3e-2, "atol": 5e-2},
    torch.float64: {"rtol": 1e-11, "atol": 1e-11},
}
#: Rows of one token, of less and of more than the queries that are worked on together.
LENGTHS = [150, 33, 32, 16, 1]


def _kernels(dtype: torch.dtype) -> Kernels:
    return present(find_kernels(dtype))


def _draw(dtype: torch.dtype, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _layout(lengths: list[int], dtype: torch.dtype) -> PackedLayout:
    sizes = np.asarray(lengths)
    return build_layout(sizes, first_tokens(sizes), 4, dtype, with_grid=False, few_sizes=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_norm(dtype: torch.dtype) -> None:
    rows, weight, gradient = _draw(dtype, 7, 48), _draw(dtype, 48, seed=1), _draw(dtype, 7, 48, seed=2)
    native, plain = NativeRmsNorm(_kernels(dtype), weight, 1e-5), PlainRmsNorm(weight, 1e-5)
    (found, tape), (expected, plain_tape) = native.forward(rows), plain.forward(rows)
    torch.testing.assert_close(found, expected, **CLOSE[dtype])
    for onto in (None, _draw(dtype, 7, 48, seed=3)):
        below = native.backward(gradient, rows, tape, None if onto is None else onto.clone())
        wanted = plain.backward(gradient, rows, plain_tape, None if onto is None else onto.clone())
        torch.testing.assert_close(below, wanted, **CLOSE[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rotary_positions_turn_and_turn_back(dtype: torch.dtype) -> None:
    layout, frequencies = _layout(LENGTHS, dtype), tuple(10_000 ** (-i / 16) for i in range(16))
    native, plain = NativeRotary(_kernels(dtype), frequencies, dtype), PlainRotary(frequencies, dtype)
    beside = _draw(dtype, layout.total, 5 * 32)
    given, wanted = beside.clone(), beside.clone()
    native.turn(given[:, :96].view(layout.total, 3, 32), layout)  # three of the five heads of each token
    plain.turn(wanted[:, :96].view(layout.total, 3, 32), layout)
    torch.testing.assert_close(given, wanted, **CLOSE[dtype])
    assert given[:, 96:].equal(beside[:, 96:])
    native.turn_back(given[:, :96].view(layout.total, 3, 32), layout)
    loose = max(1e-5, CLOSE[dtype]["atol"])  # sines and cosines are float32 ones
    torch.testing.assert_close(given, beside, rtol=loose, atol=loose)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gate(dtype: torch.dtype) -> None:
    pair, gradient = 4 * _draw(dtype, 7, 96), _draw(dtype, 7, 48, seed=1)
    pair[0, :3] = torch.tensor([-200.0, 200.0, 0.0])
    native, plain = NativeGate(_kernels(dtype)), PlainGate()
    torch.testing.assert_close(native.forward(pair), plain.forward(pair), **CLOSE[dtype])
    torch.testing.assert_close(native.backward(gradient, pair), plain.backward(gradient, pair), **CLOSE[dtype])


def _attend(part: CausalAttention, dtype: torch.dtype, rows: slice) -> list[torch.Tensor]:
    """Return context and gradients of some rows of `LENGTHS`; four heads, of which two share keys and values."""
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    tokens = slice(int(starts[rows.start]), int(starts[rows.stop]))
    layout = _layout(LENGTHS[rows], dtype)
    projected = _draw(dtype, sum(LENGTHS), 128)[tokens]
    gradient = _draw(dtype, sum(LENGTHS), 64, seed=1)[tokens]
    count = layout.token_count
    filled = [
        torch.cat([tensor, tensor.new_zeros(layout.total - count, tensor.shape[1])]) for tensor in (projected, gradient)
    ]
    context, tape = part.forward(Projections(*filled[0].split((64, 32, 32), dim=1)), layout)
    below = torch.full_like(filled[0], torch.nan)
    part.backward(filled[1], tape, layout, Projections(*below.split((64, 32, 32), dim=1)))
    assert not context[count:].any()
    assert not below[count:].any()
    return [context[:count], below[:count]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_causal_attention(dtype: torch.dtype) -> None:
    native, plain = NativeCausalAttention(_kernels(dtype), 4, 2, 16), PlainCausalAttention(4, 2, 16)
    everything = slice(0, len(LENGTHS))
    found = _attend(native, dtype, everything)
    for ours, wanted in zip(found, _attend(plain, dtype, everything), strict=True):
        torch.testing.assert_close(ours, wanted, **CLOSE[dtype])
    start = 0
    for row, length in enumerate(LENGTHS):  # alone a row has the same bits
        for ours, alone in zip(found, _attend(native, dtype, slice(row, row + 1)), strict=True):
            assert ours[start : start + length].equal(alone)
        start += length


def test_causal_attention_has_the_same_bits_with_any_number_of_threads() -> None:
    part, everything = NativeCausalAttention(_kernels(torch.float32), 4, 2, 16), slice(0, len(LENGTHS))
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(_attend(part, torch.float32, everything))
    finally:
        torch.set_num_threads(before)
    assert all(one.equal(other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_losses_of_tokens(dtype: torch.dtype) -> None:
    kernels = _kernels(dtype)
    if not kernels.has_products:
        pytest.skip("no compiled products for this type here")
    table, states = _draw(dtype, 80, 32), _draw(dtype, 300, 32, seed=1)  # more than are worked on together
    wanted = torch.arange(300) % 80
    native, plain = NativeVocabulary(kernels, table), PlainVocabulary(table)
    wanted[:50] = (states[:50] @ table.T).argmax(dim=1)
    found, expected = (part.losses(states, wanted, keeps_gradient=True) for part in (native, plain))
    torch.testing.assert_close(found.losses, expected.losses, **CLOSE[dtype])
    torch.testing.assert_close(present(found.gradient), present(expected.gradient), **CLOSE[dtype])
    assert found.right[:50].all()
    assert found.right.equal(expected.right)
    bare = native.losses(states, wanted, keeps_gradient=False)
    assert bare.gradient is None
    assert bare.losses.equal(found.losses)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_embeddings_come_back_out_of_the_layer_that_is_laid_out(dtype: torch.dtype) -> None:
    kernels = _kernels(dtype)
    if not kernels.has_products:
        pytest.skip("no compiled products for this type here")
    table, tokens = _draw(dtype, 80, 112), torch.tensor([79, 0, 5, 6, 5])
    assert NativeVocabulary(kernels, table).rows(tokens).equal(table[tokens])
    assert PlainVocabulary(table).rows(tokens).equal(table[tokens])


def test_of_equal_logits_the_first_is_the_likeliest() -> None:
    logits, losses, right = torch.zeros(3, 32), torch.empty(3), torch.empty(3)
    logits[2, 20] = 1.0
    wanted = torch.tensor([0, 17, 20])
    addresses = (tensor.data_ptr() for tensor in (logits, wanted, losses, right))
    _kernels(torch.float32).cross_entropy(*addresses, False, 3, 32)
    assert right.tolist() == [1.0, 0.0, 1.0]
    torch.testing.assert_close(losses[:2], torch.full((2,), 32.0).log())
