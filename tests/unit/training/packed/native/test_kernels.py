"""The compiled kernels: built here, called as declared, the right bits, and never needed."""

from __future__ import annotations

import ctypes
import json
import logging
import platform
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from finetune30.training.packed.layout import build_layout, first_tokens
from finetune30.training.packed.native import library
from finetune30.training.packed.native.attention import NativeAttention
from finetune30.training.packed.native.gelu import NativeGelu
from finetune30.training.packed.native.lora import NativeLoraGroup
from finetune30.training.packed.native.masks import ThreefryMasks
from finetune30.training.packed.native.norm import NativeResidualNorm
from finetune30.training.packed.parameters import TrainableWeights
from finetune30.training.packed.parts.attention import Projections
from finetune30.training.packed.parts.lora import LoraTarget
from support.engines import build_packed, configure, random_batch
from support.present import present
from support.tiny_models import build_tiny_model

SOURCES = sorted(Path(library.__file__).parent.glob("*.cpp"))
needs_kernels = pytest.mark.skipif(library.describe_kernels() == "none", reason="the kernels were not compiled here")


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("g++") is None, reason="there is no g++")
def test_installation_built_them() -> None:
    assert library.describe_kernels() != "none"


def test_declared_arguments_are_those_of_the_source() -> None:
    text = "".join(source.read_text(encoding="utf-8") for source in SOURCES).replace("\\\n", " ")
    declared = {**library._SIGNATURES, **library._PRODUCTS, "draw_mask": library._DRAW_MASK}
    found = dict(re.findall(r"EXPORTED void (\w+?)(?:_##NAME)?\(([^)]*)\)", text))
    assert found.keys() == declared.keys()
    for name, arguments in found.items():
        letters = "".join("p" if "*" in argument else argument.split()[0][0] for argument in arguments.split(","))
        assert letters == declared[name], name
    assert int(present(re.search(r"kernels_version\(\) \{ return (\d+); \}", text))[1]) == library._VERSION


def _threefry(key: tuple[int, int], counter: tuple[int, int]) -> tuple[int, int]:
    """Threefry-2x32 with 20 rounds, one counter at a time, from the paper."""
    bits = 0xFFFFFFFF
    keys = (*key, 0x1BD11BDA ^ key[0] ^ key[1])
    low, high = (counter[0] + key[0]) & bits, (counter[1] + key[1]) & bits
    for group in range(5):
        for rotation in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            low = (low + high) & bits
            high = (high << rotation | high >> (32 - rotation)) & bits ^ low
        low, high = (low + keys[(group + 1) % 3]) & bits, (high + keys[(group + 2) % 3] + group + 1) & bits
    return low, high


def test_reference_threefry_gives_the_published_answers() -> None:
    assert _threefry((0, 0), (0, 0)) == (0x6B200159, 0x99BA4EFE)
    assert _threefry((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3)) == (0xC4923A9C, 0x483DF7A0)


@needs_kernels
def test_masks_are_threefry_bits() -> None:
    kernels = present(library.find_kernels(torch.float32))
    mask = torch.empty(192, dtype=torch.uint8)
    kernels.draw_mask(mask.data_ptr(), 192, 0x13198A2E, 0x03707344, 7, 20_000)
    expected = []
    for block in range(0, 48, 16):
        words = [_threefry((0x13198A2E, 0x03707344), (block + lane, 7)) for lane in range(16)]
        for pick in (lambda w: w[0] & 0xFFFF, lambda w: w[0] >> 16, lambda w: w[1] & 0xFFFF, lambda w: w[1] >> 16):
            expected += [int(pick(word) >= 20_000) for word in words]
    assert mask.tolist() == expected


@needs_kernels
@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_masks_keep_the_right_share_and_differ(probability: float) -> None:
    kernels = present(library.find_kernels(torch.float32))
    sources = [ThreefryMasks(kernels, 1), ThreefryMasks(kernels, 2)]
    drawn = [present(source.draw((400, 501), probability, torch.uint8)) for source in (sources[0], *sources)]
    for mask in drawn:
        assert mask.shape == (400, 501)
        assert float(mask.eq(0).float().mean()) == pytest.approx(probability, abs=0.005)
    for i, first in enumerate(drawn):
        for second in drawn[:i]:
            # Independent masks agree where both keep or both drop.
            agreement = float(first.eq(second).float().mean())
            assert agreement == pytest.approx(probability**2 + (1 - probability) ** 2, abs=0.005)
    scaled = present(sources[0].draw((1000,), probability, torch.float32))
    assert scaled.unique().tolist() == [0.0, pytest.approx(1 / (1 - probability))]
    assert sources[0].draw((8,), 0.0, torch.uint8) is None


@needs_kernels
def test_saved_state_repeats_the_next_masks() -> None:
    source, other = (ThreefryMasks(present(library.find_kernels(torch.float32)), 5) for _ in range(2))
    for shape, probability in [((70,), 0.3), ((90,), 0.1), ((1100, 1000), 0.3)]:
        source.draw(shape, probability, torch.uint8)
    other.load_state(json.loads(json.dumps(source.state())))
    for shape, probability in [((300,), 0.3), ((1100, 1000), 0.3), ((50,), 0.3), ((64,), 0.1)]:  # more than one chunk
        masks = [present(one.draw(shape, probability, torch.uint8)) for one in (source, other)]
        assert masks[0].equal(masks[1])


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_gelu_is_exact_and_so_is_its_derivative(dtype: torch.dtype) -> None:
    values = torch.cat([torch.linspace(-30, 30, 4093), torch.tensor([-1e30, 1e30, torch.nan])]).to(dtype)
    exact = values.double().requires_grad_()
    expected = torch.nn.functional.gelu(exact)
    expected[:-1].sum().backward()
    inner = values.clone()
    active, derivative = NativeGelu(present(library.find_kernels(dtype))).forward(inner, keeps_derivative=True)
    accuracy = {torch.float32: 6e-7, torch.bfloat16: 5e-3, torch.float64: 1e-14}[dtype]
    finite = slice(0, -3)
    torch.testing.assert_close(active[finite].double(), expected[finite].detach(), rtol=accuracy, atol=accuracy)
    torch.testing.assert_close(
        present(derivative)[finite].double(), present(exact.grad)[finite], rtol=accuracy, atol=accuracy
    )
    assert active[-3].item() == 0.0
    assert active[-2] == values[-2]
    assert active[-1].isnan()


def _build_parts(dtype: torch.dtype) -> dict[str, Any]:
    kernels = present(library.find_kernels(dtype))
    generator = torch.Generator().manual_seed(3)
    master = torch.float64 if dtype == torch.float64 else torch.float32
    # Two layers of a group of three, of different widths.
    shapes = {"m.lora_A": (13, 64), "n.lora_A": (13, 64), "m.lora_B": (48, 13), "n.lora_B": (32, 13)}
    weights = TrainableWeights(
        {f"{name}.weight": torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()},
        master,
        transposed={"m.lora_B.weight", "n.lora_B.weight"},
    )
    norm_weight, norm_bias = torch.randn(2, 64, generator=generator).to(dtype)
    return {
        "kernels": kernels,
        "weights": weights,
        "lora": NativeLoraGroup(kernels, [LoraTarget("m", 16, 0.5), LoraTarget("n", 64, 2.0)], weights, 0.25),
        "norm": NativeResidualNorm(kernels, norm_weight, norm_bias, 1e-5, 0.25),
        "attention": NativeAttention(kernels, 4, 16, 0.25),
    }


def _run_parts(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Run every kernel forwards and backwards on the same numbers; return all results."""
    parts = _build_parts(dtype)
    masks = ThreefryMasks(parts["kernels"], 1)
    generator = torch.Generator().manual_seed(4)
    lengths = np.array([1, 33, 16, 5, 22])
    layout = build_layout(lengths, first_tokens(lengths), 4, dtype, with_grid=False, few_sizes=False)
    total = layout.total

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    results: dict[str, torch.Tensor] = {}
    rows = random(total, 64)
    output = random(total, 96)
    tape = parts["lora"].forward(rows, output, masks)
    results["lora output"] = output.clone()
    below = random(total, 64)
    parts["lora"].backward(random(total, 96), tape, below)
    results["lora input gradient"], results["lora gradients"] = below, parts["weights"].gradients
    results["normed"], tape = parts["norm"].forward(random(total, 64), rows, masks)
    results["norm gradient"], results["norm masked gradient"] = parts["norm"].backward(random(total, 64), tape)
    together, query = random(total, 192), random(5, 64)
    given = {"": Projections(*together.chunk(3, 1)), "asking ": Projections(query, *together[:, 64:].chunk(2, 1))}
    for kind, projections in given.items():
        attention = parts["attention"]
        context, tape = attention.forward(projections, layout, masks, only_asking=bool(kind))
        into = torch.empty_like(together)
        gradients = Projections(torch.empty_like(query) if kind else into[:, :64], *into[:, 64:].chunk(2, 1))
        attention.backward(random(*context.shape), tape, layout, gradients)
        results |= {f"{kind}context": context} | {f"{kind}{n} gradient": g for n, g in gradients._asdict().items()}
    return results


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_results_do_not_depend_on_the_number_of_threads(dtype: torch.dtype) -> None:
    before = torch.get_num_threads()
    try:
        runs = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            runs.append(_run_parts(dtype))
    finally:
        torch.set_num_threads(before)
    for name, expected in runs[0].items():
        for other in runs[1:]:
            assert other[name].equal(expected), name


@needs_kernels
@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float32, 3e-6), (torch.bfloat16, 2e-2)], ids=str)
def test_results_equal_those_in_float64(dtype: torch.dtype, accuracy: float) -> None:
    for (name, found), expected in zip(_run_parts(dtype).items(), _run_parts(torch.float64).values(), strict=True):
        error = (found.double() - expected).norm() / expected.norm()
        assert float(error) < accuracy, name


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_lora_of_a_token_is_the_same_whatever_stands_beside_it(dtype: torch.dtype) -> None:
    lora = _build_parts(dtype)["lora"]
    generator = torch.Generator().manual_seed(6)
    # As many as no group of tokens that are worked on together divides.
    rows, outputs, gradients, below = (
        torch.randn(15, width, generator=generator).to(dtype) for width in (64, 96, 96, 64)
    )

    def run(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        output, input_gradient = outputs[part].clone(), below[part].clone()
        tape = lora.forward(rows[part], output, None)
        lora.backward(gradients[part], tape, input_gradient)
        return output, input_gradient

    together = run(slice(None))
    assert not together[0].equal(outputs)
    alone = [run(slice(token, token + 1)) for token in range(len(rows))]
    for found, expected in zip(map(torch.cat, zip(*alone, strict=True)), together, strict=True):
        assert found.equal(expected)


@needs_kernels
@pytest.mark.skipif(platform.machine() != "x86_64", reason="one instruction set only")
@pytest.mark.parametrize("variant", ["avx2", "avx512"])
def test_every_instruction_set_gives_nearly_the_same(
    variant: str, fresh_search: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.backends.cpu.get_cpu_capability() not in ("AVX512", variant.upper()):
        pytest.skip("this CPU has no such instructions")
    best = _run_parts(torch.float32)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: variant.upper())
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    library._find_library.cache_clear()
    assert library.describe_kernels().startswith(f"{variant}, compiler ")
    for (name, found), expected in zip(_run_parts(torch.float32).items(), best.values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=name)


def test_engine_says_what_it_computes_with(compiled: bool, tmp_path: Path) -> None:
    engine = build_packed(configure(build_tiny_model(tmp_path / "base"), compiled_kernels=compiled))
    kernels = library.find_kernels(torch.float32)
    expected = f"compiled kernels for {present(kernels).instructions}" if compiled else "PyTorch's operators"
    assert engine.operations == expected


def test_sizes_that_vectors_do_not_fit_take_pytorchs_operators(tmp_path: Path) -> None:
    engine = build_packed(configure(build_tiny_model(tmp_path / "base", hidden=16)))  # two heads of 8
    assert engine.operations == "PyTorch's operators"
    assert np.isfinite(engine.outputs(random_batch([5, 3]))).all()


@pytest.mark.parametrize("fault", ["none built", "another version", "not a library"])
def test_without_usable_kernels_pytorchs_operators_run(
    fault: str, fresh_search: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("avx512_bf16", "avx512", "avx2", "baseline"):
        if fault == "not a library":
            (tmp_path / f"{name}.kernels").write_bytes(b"not a library")
    if fault == "another version" and library.describe_kernels() == "none":
        pytest.skip("the kernels were not compiled here")
    library._find_library.cache_clear()
    if fault == "another version":
        monkeypatch.setattr(library, "_VERSION", -1)
    else:
        monkeypatch.setattr(library, "_FOLDER", tmp_path)
    with caplog.at_level(logging.WARNING):
        engine = build_packed(configure(build_tiny_model(tmp_path / "base")))
    assert engine.operations == "PyTorch's operators"
    assert library.describe_kernels() == "none"
    assert bool(caplog.records) == (fault != "none built")


@needs_kernels
def test_pytorch_and_kernels_share_one_openmp_runtime() -> None:
    path = library._FOLDER / f"{present(library.find_kernels(torch.float32)).instructions}.kernels"
    # A library's own OpenMP would be among what it needs; this one has none, and finds PyTorch's functions.
    assert b"libgomp" not in path.read_bytes()
    openmp = ctypes.CDLL(None)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert openmp.omp_get_max_threads() == 3
    finally:
        torch.set_num_threads(before)
