"""The project's own kernels on the device: each against float64 on the CPU, all of them in a step, speed of each.

On a CPU they run under Triton's interpreter, with tiny sizes.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu_check.findings import Context, NotRunError
from benchmarks.gpu_check.material import (
    build_engine,
    configure,
    draw_token_rows,
    ensure_base,
    give_values_to_b,
    gradients,
    largest_gap,
)
from benchmarks.gpu_check.timing import seconds_of

if TYPE_CHECKING:
    from torch import Tensor

    from finetune30.training.general import GeneralEngine

#: Results and gradients of one operation against float64, relative 2-norm; a bfloat16 that is rounded once has 1.7e-3.
_LIMITS = {"fp32": 1e-6, "bf16": 5e-3}
#: Triton's interpreter rounds to bfloat16 towards zero.
_INTERPRETED_LIMIT = 1.5e-2
#: A step with them against one without: loss and gradients, relative.
_STEP_LIMITS = {"fp32": (1e-5, 1e-3), "bf16": (2e-2, 5e-2)}
_EPSILON = 1e-5


def check(context: Context) -> None:
    """Compare operations and steps, then time the operations beside PyTorch's."""
    if importlib.util.find_spec("triton") is None:
        raise NotRunError("Triton is not installed")
    if not context.on_gpu:
        os.environ["TRITON_INTERPRET"] = "1"
    for precision, limit in _LIMITS.items():
        allowed = limit if context.on_gpu or precision == "fp32" else _INTERPRETED_LIMIT
        for name, (own, plain, inputs) in _operations(context, precision).items():
            _compare(context, f"{precision}: {name}", own, plain, inputs, allowed)
    # Rounded towards zero at every operation, a step in bfloat16 would say nothing of one on a device.
    for precision in _STEP_LIMITS if context.on_gpu else ("fp32",):
        _compare_steps(context, precision)


_Operation = tuple[Callable[..., Any], Callable[..., Any], "list[Tensor]"]


def _operations(context: Context, precision: str) -> dict[str, _Operation]:
    """Return own form, PyTorch's form and inputs of each operation, in sizes of an 8B model."""
    import torch
    from torch.nn import functional

    from finetune30.training.gpu_kernels.cross_entropy import measure_logits
    from finetune30.training.gpu_kernels.rms_norm import RmsNorm
    from finetune30.training.gpu_kernels.rotary import Rotary
    from finetune30.training.gpu_kernels.swiglu import SwiGlu

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    tokens, width, wide, heads, size, words = (
        (2048, 4096, 14336, 32, 128, 128256) if context.on_gpu else (3, 40, 50, 2, 8, 90)
    )
    drawn = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=drawn).to(context.device, dtype)

    weight, cos, sin = draw(width), draw(1, tokens, size), draw(1, tokens, size)
    wanted = torch.randint(0, words, (tokens // 4 + 1,), generator=drawn).to(context.device)

    def norm(x: Tensor) -> Tensor:
        scaled = x.to(_wide(x)) * torch.rsqrt(x.to(_wide(x)).pow(2).mean(-1, keepdim=True) + _EPSILON)
        return weight.to(x.dtype) * scaled.to(x.dtype)

    def turn(x: Tensor) -> Tensor:
        low, high = x.chunk(2, dim=-1)
        return x * cos.to(x.dtype)[:, None] + torch.cat([-high, low], dim=-1) * sin.to(x.dtype)[:, None]

    def losses(logits: Tensor) -> Tensor:
        return functional.cross_entropy(logits.to(_wide(logits)), wanted, reduction="none")

    return {
        "norm": (lambda x: RmsNorm.apply(x, weight, _EPSILON), norm, [draw(tokens, width)]),
        "gate": (SwiGlu.apply, lambda gate, up: functional.silu(gate) * up, [draw(tokens, wide), draw(tokens, wide)]),
        "rotary positions": (lambda x: Rotary.apply(x, cos, sin), turn, [draw(1, heads, tokens, size)]),
        "token losses": (_measuring(measure_logits, wanted), losses, [draw(len(wanted), words)]),
    }


def _wide(values: Tensor) -> Any:
    import torch

    return torch.promote_types(values.dtype, torch.float32)


def _measuring(measure: Callable[..., tuple[Tensor, Tensor]], wanted: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the losses as a function with a gradient: the kernel makes it where the logits are."""
    import torch

    class Measured(torch.autograd.Function):
        """Losses of logits, which are copied because the kernel overwrites them."""

        @staticmethod
        def forward(ctx: Any, logits: Tensor) -> Tensor:
            """Return the losses, and keep the gradient."""
            gradient = logits.detach().clone()
            losses, _ = measure(gradient, wanted, 1.0, keeps_gradient=True)
            ctx.save_for_backward(gradient)
            return losses

        @staticmethod
        def backward(ctx: Any, arriving: Tensor) -> Tensor:
            """Return the gradient of the logits."""
            (gradient,) = ctx.saved_tensors
            result: Tensor = gradient * arriving[:, None].to(gradient.dtype)
            return result

    def apply(logits: Tensor) -> Tensor:
        found: Tensor = Measured.apply(logits)
        return found

    return apply


def _compare(
    context: Context, name: str, own: Callable[..., Any], plain: Callable[..., Any], inputs: list[Tensor], limit: float
) -> None:
    import torch

    mine, again = _differentiate(own, inputs), _differentiate(own, inputs)
    exact = _differentiate(plain, [value.double() for value in inputs])
    for part, (found, expected) in zip(("result", "gradient", "gradient"), zip(mine, exact, strict=True), strict=False):
        gap = float((found.double() - expected).norm() / expected.norm())
        context.assert_below(gap, limit, f"{name}, {part} against float64")
    same = all(map(torch.equal, mine, again))
    context.assert_that(same, f"{name}, twice", "bit-equal" if same else "differs", "bit-equal")
    if context.on_gpu:
        times = [_time(context, form, inputs) for form in (own, plain)]
        context.figure(f"{name}, there and back", f"{times[0]:.3f} ms, PyTorch {times[1]:.3f} ms", "faster")


def _differentiate(form: Callable[..., Any], inputs: list[Tensor]) -> list[Tensor]:
    """Return the result and the gradients of all inputs for a gradient that is everywhere another."""
    import torch

    values = [value.detach().clone().requires_grad_() for value in inputs]
    result = form(*values)
    arriving = torch.linspace(0.5, 1.5, result.numel(), device=result.device).view_as(result)
    result.backward(arriving.to(torch.bfloat16).to(result.dtype))
    return [result.detach(), *(value.grad for value in values if value.grad is not None)]


def _time(context: Context, form: Callable[..., Any], inputs: list[Tensor]) -> float:
    seconds = [seconds_of(context.device, lambda: _differentiate(form, inputs)) for _ in range(12)]
    return 1e3 * statistics.median(seconds[2:])


def _compare_steps(context: Context, precision: str) -> None:
    """Hold a packed step with the kernels against one without, loss and gradients."""
    from finetune30.data.batching import collate
    from finetune30.training.gpu_kernels.choosing import choose_kernels

    base = ensure_base(context, "llama, 2 layers")
    plain, own = (build_engine(configure(base, causal=True), context.device, precision) for _ in range(2))
    give_values_to_b(plain, own)
    replaced = choose_kernels(own, "on")
    split = draw_token_rows(context, (17, 300, 2048) if context.on_gpu else (3, 9))
    batch = collate(split, np.arange(len(split)), own.pad_token_id)

    def step(engine: GeneralEngine) -> tuple[float, dict[str, Any]]:
        engine.packs = True
        return float(engine.accumulate(batch, 1e-3)), gradients(engine)

    (loss, found), (expected, exact) = step(own), step(plain)
    context.figure(f"{precision}: kernels", replaced)
    limits = _STEP_LIMITS[precision]
    context.assert_below(abs(loss - expected) / abs(expected), limits[0], f"{precision}: loss of a step against off")
    context.assert_below(largest_gap(found, exact), limits[1], f"{precision}: gradients of a step against off")
