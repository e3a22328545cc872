"""The kernels for GPUs under Triton's interpreter, against PyTorch's operators, autograd and finite differences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not installed: kernels for GPUs cannot be run (make test-gpu-kernels)")

from finetune30.training.gpu_kernels.cross_entropy import measure_logits
from finetune30.training.gpu_kernels.rms_norm import RmsNorm
from finetune30.training.gpu_kernels.rotary import Rotary
from finetune30.training.gpu_kernels.swiglu import SwiGlu

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # of branches that are not taken

EPSILON = 1e-5
#: Largest error, relative to the largest number: rounding of the type, some times over.
LIMITS = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 8e-3}
DTYPES = pytest.mark.parametrize("dtype", LIMITS, ids=str)


def draw(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (2.0 * values).to(dtype)


def exactly(values: Tensor) -> Tensor:
    """The same numbers in float64, for autograd."""
    return values.detach().double().requires_grad_(values.is_floating_point())


def assert_close(found: Tensor, exact: Tensor, dtype: torch.dtype) -> None:
    assert found.dtype == dtype
    assert found.shape == exact.shape
    found, exact = found.detach().double(), exact.detach()
    assert float((found - exact).abs().max()) <= LIMITS[dtype] * max(1.0, float(exact.abs().max()))


def compare(kernel: Callable[..., Tensor], plain: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Hold a kernel's result and gradients against those of operators in float64."""
    mine = [value.clone().requires_grad_() for value in inputs]
    exact = [exactly(value) for value in inputs]
    result, expected = kernel(*mine), plain(*exact)
    arriving = draw(*expected.shape, dtype=result.dtype, seed=9)
    result.backward(arriving)
    expected.backward(arriving.double())
    assert_close(result, expected, result.dtype)
    for value, reference in zip(mine, exact, strict=True):
        assert value.grad is not None
        assert reference.grad is not None
        assert_close(value.grad, reference.grad, value.dtype)


def plain_norm(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + EPSILON)


def plain_rotary(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    low, high = heads.chunk(2, dim=-1)
    return heads * cos[:, None] + torch.cat([-high, low], dim=-1) * sin[:, None]


@DTYPES
@pytest.mark.parametrize("shape", [(1, 1), (2, 3, 33), (2, 128)], ids=str)
def test_norm_is_what_operators_make_of_it(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    weight = draw(shape[-1], dtype=dtype, seed=1)
    compare(
        lambda x: RmsNorm.apply(x, weight, EPSILON), lambda x: plain_norm(x, weight.double()), draw(*shape, dtype=dtype)
    )


def test_norm_in_bfloat16_rounds_where_llamas_of_transformers_do() -> None:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    norm = LlamaRMSNorm(48, eps=EPSILON).bfloat16().requires_grad_(requires_grad=False)
    norm.weight.copy_(draw(48, dtype=torch.bfloat16, seed=1))
    x = draw(20, 48, dtype=torch.bfloat16)
    found, expected = RmsNorm.apply(x, norm.weight, EPSILON), norm(x)
    # Only where a sum in another order falls on the other side of a rounding may one number differ.
    assert int((found != expected).sum()) <= 3
    assert RmsNorm.apply(x, norm.weight.float(), EPSILON).dtype == torch.float32


@DTYPES
@pytest.mark.parametrize("shape", [(1,), (2, 7, 33), (1, 1025)], ids=str)
def test_gate_is_what_operators_make_of_it(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    compare(
        SwiGlu.apply,
        lambda gate, up: torch.nn.functional.silu(gate) * up,
        draw(*shape, dtype=dtype),
        draw(*shape, dtype=dtype, seed=1),
    )


def test_gate_of_large_numbers_is_finite() -> None:
    gate = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], requires_grad=True)
    up = torch.ones(5, requires_grad=True)
    found = SwiGlu.apply(gate, up)
    found.sum().backward()
    assert found.tolist() == [0.0, 0.0, 0.0, 100.0, 1e4]
    assert gate.grad is not None
    assert gate.grad.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


@DTYPES
@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (2, 3, 4, 6), (3, 1, 2, 34)], ids=str)
@pytest.mark.parametrize("angles", ["one row", "a row each"])
def test_rotary_is_what_operators_make_of_it(shape: tuple[int, int, int, int], dtype: torch.dtype, angles: str) -> None:
    batch, _, length, size = shape
    rows = batch if angles == "a row each" else 1
    # Halves that differ, as no model's do: so an exchange of them is seen.
    cos, sin = draw(rows, length, size, dtype=dtype, seed=1), draw(rows, length, size, dtype=dtype, seed=2)
    compare(
        lambda heads: Rotary.apply(heads, cos, sin),
        lambda heads: plain_rotary(heads, cos.double(), sin.double()),
        draw(*shape, dtype=dtype),
    )


def test_rotary_takes_heads_as_attention_lays_them() -> None:
    tokens = draw(2, 5, 3, 8, dtype=torch.float32)
    cos, sin = draw(1, 5, 8, dtype=torch.float32, seed=1), draw(1, 5, 8, dtype=torch.float32, seed=2)
    found = Rotary.apply(tokens.transpose(1, 2), cos, sin)
    assert found.transpose(1, 2).is_contiguous()
    assert_close(found, plain_rotary(tokens.transpose(1, 2).double(), cos.double(), sin.double()), torch.float32)


@pytest.mark.parametrize(
    ("kernel", "inputs"),
    [
        (lambda x: RmsNorm.apply(x, draw(3, dtype=torch.float64, seed=1), EPSILON), [(2, 3)]),
        (SwiGlu.apply, [(3,), (3,)]),
        (
            lambda heads: Rotary.apply(
                heads, draw(1, 2, 4, dtype=torch.float64, seed=1), draw(1, 2, 4, dtype=torch.float64, seed=2)
            ),
            [(1, 1, 2, 4)],
        ),
    ],
    ids=["norm", "gate", "rotary"],
)
def test_gradients_are_those_of_finite_differences(
    kernel: Callable[..., Tensor], inputs: list[tuple[int, ...]]
) -> None:
    values = [draw(*shape, dtype=torch.float64, seed=i).requires_grad_() for i, shape in enumerate(inputs)]
    assert torch.autograd.gradcheck(kernel, values, eps=1e-6, atol=1e-7)


@DTYPES
@pytest.mark.parametrize(("vocabulary", "factor"), [(1, 1.0), (2, 0.25), (33, 1.0), (4096, 1.0), (5000, 0.25)])
def test_losses_and_their_gradient_are_those_of_autograd(vocabulary: int, factor: float, dtype: torch.dtype) -> None:
    logits = draw(3, vocabulary, dtype=dtype)
    wanted = torch.tensor([0, vocabulary // 2, vocabulary - 1])
    exact = exactly(logits)
    expected = torch.nn.functional.cross_entropy(exact * factor, wanted, reduction="none")
    expected.sum().backward()
    gradient = logits.clone()
    losses, right = measure_logits(gradient, wanted, factor, keeps_gradient=True)
    assert_close(losses, expected, torch.promote_types(dtype, torch.float32))
    assert exact.grad is not None
    assert_close(gradient, exact.grad, dtype)
    assert right.tolist() == [float(row.argmax() == target) for row, target in zip(logits, wanted, strict=True)]
    asked, untouched = logits.clone(), logits.clone()
    again, _ = measure_logits(asked, wanted, factor, keeps_gradient=False)
    assert again.equal(losses)
    assert asked.equal(untouched)


def test_of_several_likeliest_tokens_the_first_one_counts() -> None:
    logits = torch.zeros(3, 9000)
    logits[:, [7, 4103, 8195]] = 1.0
    _, right = measure_logits(logits, torch.tensor([7, 4103, 8195]), 1.0, keeps_gradient=False)
    assert right.tolist() == [1.0, 0.0, 0.0]


def test_losses_of_large_logits_are_finite_and_of_no_numbers_are_none() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [-3e38, 3e38, 0.0], [float("-inf"), 2.0, 2.0]])
    losses, _ = measure_logits(logits, torch.tensor([0, 1, 1]), 1.0, keeps_gradient=True)
    assert losses.tolist() == pytest.approx([0.0, 0.0, 0.693147], abs=1e-6)
    assert bool(torch.isfinite(logits).all())
    for bad in (float("nan"), float("inf")):
        broken = torch.zeros(1, 40)
        broken[0, 30] = bad
        assert not torch.isfinite(measure_logits(broken, torch.tensor([3]), 1.0, keeps_gradient=True)[0]).any()
        assert not torch.isfinite(broken).all()


def test_a_row_is_the_same_to_the_last_bit_beside_others_and_again() -> None:
    logits = draw(5, 700, dtype=torch.bfloat16)
    wanted = torch.tensor([1, 2, 3, 4, 699])
    whole, alone, again = logits.clone(), logits[3:4].clone(), logits.clone()
    losses, _ = measure_logits(whole, wanted, 1.0, keeps_gradient=True)
    loss, _ = measure_logits(alone, wanted[3:4], 1.0, keeps_gradient=True)
    measure_logits(again, wanted, 1.0, keeps_gradient=True)
    assert loss.equal(losses[3:4])
    assert alone.equal(whole[3:4])
    assert again.equal(whole)
