"""Products with frozen weights: the right numbers in every shape, and the same whoever computes them and with whom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from finetune30.training.packed.native import library
from finetune30.training.packed.native.linear import NativeLinear
from finetune30.training.packed.parts.linear import FrozenLinear, PlainLinear, build_frozen_linear
from support.engines import build_packed, configure, random_batch
from support.present import present
from support.tiny_models import build_tiny_model

DTYPES = [torch.float32, torch.bfloat16, torch.float64]


def _native(weight: torch.Tensor, bias: torch.Tensor, *, needs_input_gradient: bool) -> NativeLinear:
    kernels = library.find_kernels(weight.dtype)
    if kernels is None or not kernels.has_products:
        pytest.skip("no compiled products for this type here")
    return NativeLinear(kernels, weight, bias, needs_input_gradient=needs_input_gradient)


def _plain(weight: torch.Tensor, bias: torch.Tensor, *, needs_input_gradient: bool) -> PlainLinear:
    return PlainLinear(weight, bias)


BUILDERS = {"native": _native, "prepacked": build_frozen_linear, "plain": _plain}


def _integers(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """Small ones: their sums of products are exact in every type."""
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randint(-2, 3, shape, generator=generator).to(dtype)


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("inputs", "outputs"), [(16, 16), (48, 32), (32, 48), (16, 112), (80, 64), (272, 144), (4400, 48)]
)
def test_products_are_right_in_every_shape(
    build: Callable[..., FrozenLinear], dtype: torch.dtype, inputs: int, outputs: int
) -> None:
    weight, bias = _integers(dtype, outputs, inputs), _integers(dtype, outputs)
    layer = build(weight, bias, needs_input_gradient=True)
    for rows in (0, 1, 2, 3, 5, 7, 8, 9, 17, 63, 64, 65, 130):
        batch, gradient = _integers(dtype, rows, inputs), _integers(dtype, rows, outputs)
        forwards = batch.double() @ weight.double().t() + bias.double()
        assert layer.forward(batch).equal(forwards.to(dtype)), rows
        backwards = gradient.double() @ weight.double()
        assert layer.input_gradient(gradient).equal(backwards.to(dtype)), rows
        onto, factor = _integers(dtype, rows, inputs), _integers(dtype, rows, inputs)
        assert layer.input_gradient(gradient, onto=onto.clone()).equal((backwards + onto).to(dtype)), rows
        finished = layer.input_gradient(gradient, onto=onto.clone(), factor=factor)
        assert finished.equal(((backwards + onto) * factor).to(dtype)), rows


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("inputs", [208, 4400], ids=["at once", "in blocks"])
def test_a_row_and_a_thread_do_not_matter(dtype: torch.dtype, inputs: int) -> None:
    weight, bias, rows = (torch.randn(*shape).to(dtype) for shape in ((112, inputs), (112,), (71, inputs)))
    layer = _native(weight, bias, needs_input_gradient=False)
    expected = layer.forward(rows)
    assert torch.cat([layer.forward(rows[i : i + 1]) for i in range(len(rows))]).equal(expected)
    assert torch.cat([layer.forward(rows[:29]), layer.forward(rows[29:])]).equal(expected)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3, 7):
            torch.set_num_threads(threads)
            assert layer.forward(rows).equal(expected), threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float32, 5e-7), (torch.bfloat16, 3e-3)], ids=str)
def test_products_of_random_numbers_are_accurate(dtype: torch.dtype, accuracy: float) -> None:
    weight, bias, rows = (torch.randn(*shape).to(dtype) for shape in ((48, 3072), (48,), (9, 3072)))
    exact = rows.double() @ weight.double().t() + bias.double()
    found = _native(weight, bias, needs_input_gradient=False).forward(rows).double()
    assert float((found - exact).norm() / exact.norm()) < accuracy


@pytest.mark.parametrize("variant", ["avx2", "avx512", "avx512_bf16"])
def test_every_instruction_set_multiplies_bfloat16(
    variant: str, fresh_search: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    able = torch.backends.cpu.get_cpu_capability()
    if able not in ("AVX512", variant.upper()) or (
        variant == "avx512_bf16" and not torch.cpu._is_avx512_bf16_supported()
    ):
        pytest.skip("this CPU has no such instructions")
    monkeypatch.setattr(library, "_choose_variant", lambda: variant)
    weight, bias, rows = (_integers(torch.bfloat16, *shape) for shape in ((112, 208), (112,), (71, 208)))
    layer = _native(weight, bias, needs_input_gradient=True)
    expected = rows.double() @ weight.double().t() + bias.double()
    assert layer.forward(rows).equal(expected.to(torch.bfloat16))
    gradient = layer.input_gradient(expected.to(torch.bfloat16))
    assert gradient.equal((expected.to(torch.bfloat16).double() @ weight.double()).to(torch.bfloat16))


@pytest.mark.parametrize(("cpu_name", "expected"), [("AMD EPYC", "avx512_bf16"), ("Intel Xeon", "avx512")])
def test_only_amds_multiply_pairs_of_bfloat16(cpu_name: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": cpu_name})
    assert library._choose_variant() == expected


def test_amx_tiles_are_left_to_onednn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if library.find_kernels(torch.float32) is None:
        pytest.skip("the kernels were not compiled here")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert not present(library.find_kernels(torch.bfloat16)).has_products
    engine = build_packed(configure(build_tiny_model(tmp_path / "base")), precision="bf16")
    assert engine._layout(random_batch([3, 2])).total == 6  # with a filler
    assert engine.operations.startswith("compiled kernels for ")
    assert np.isfinite(engine.outputs(random_batch([5, 3]))).all()
