"""Puts the kernels in the place of a model's own operators, where these are seen to compute the same.

What a module computes is tried on it, not looked up by its name: norms that add one to their weight, gates of another
activation and positions turned pair by pair stay as they are. Only the modules of this one model change.
"""

from __future__ import annotations

import inspect
import types
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from finetune30.training.gpu_kernels.cross_entropy import measure_logits
from finetune30.training.gpu_kernels.launching import LONGEST_ROW, block_of
from finetune30.training.gpu_kernels.rms_norm import RmsNorm
from finetune30.training.gpu_kernels.rotary import Rotary
from finetune30.training.gpu_kernels.swiglu import SwiGlu
from finetune30.training.vocabulary_losses import measure_plainly

_DTYPES = (torch.bfloat16, torch.float32, torch.float64)
#: How far results may be from the model's own, relative to the largest: some roundings of either type.
_LIMITS = {torch.bfloat16: 3e-2, torch.float32: 1e-4, torch.float64: 1e-8}
_ROTATION = "apply_rotary_pos_emb"
_GATED = ("gate_proj", "up_proj", "down_proj", "act_fn")
#: As functions, whose results autograd's own stubs have no types for.
_norm: Callable[..., Tensor] = RmsNorm.apply
_gate: Callable[..., Tensor] = SwiGlu.apply
_turn: Callable[..., Tensor] = Rotary.apply

#: What is replaced, and how.
_Replacement = tuple[str, Callable[[], None]]


def replace_operators(model: nn.Module) -> dict[str, int]:
    """Replace what the kernels compute; return how many of each. All or nothing where one of them raises an error.

    The model stands in evaluation and on its device; nothing of it is trained but LoRA.
    """
    found: list[_Replacement] = []
    turned: dict[type, Callable[..., Any] | None] = {}
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        found += _replace_norm(module, generator)
        found += _replace_gate(module, generator)
        found += _replace_rotation(module, generator, turned)
    found += _replace_losses(model, generator)
    for _, put in found:
        put()
    return dict(Counter(name for name, _ in found))


def _replace_norm(module: nn.Module, generator: torch.Generator) -> Iterator[_Replacement]:
    weight = getattr(module, "weight", None)
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if "RMSNorm" not in type(module).__name__ or not isinstance(weight, Tensor) or not isinstance(epsilon, float):
        return
    if weight.requires_grad or weight.dim() != 1 or len(weight) > LONGEST_ROW or weight.dtype not in _DTYPES:
        return
    own: Callable[..., Tensor] = type(module).forward
    if not _takes_one(own):
        return

    def forward(self: Any, hidden_states: Tensor) -> Tensor:
        if hidden_states.dtype not in _DTYPES:
            return own(self, hidden_states)
        return _norm(hidden_states, self.weight, epsilon)

    x = _draw(generator, (2, len(weight)), weight)
    x[1] *= 1e-3  # a row of which epsilon is a part
    if _agrees(forward(module, x), module(x)):
        yield "norms", lambda: _bind(module, forward)


def _replace_gate(module: nn.Module, generator: torch.Generator) -> Iterator[_Replacement]:
    if not all(hasattr(module, name) for name in _GATED) or not _takes_one(type(module).forward):
        return
    parts: Any = module
    line = torch.linspace(-8, 8, 65)
    if not _agrees(functional.silu(line), parts.act_fn(line)):
        return

    def forward(self: Any, x: Tensor) -> Tensor:
        gate, up = self.gate_proj(x), self.up_proj(x)
        fits = gate.dtype == up.dtype and gate.dtype in _DTYPES
        result: Tensor = self.down_proj(_gate(gate, up) if fits else self.act_fn(gate) * up)
        return result

    some = next(parts.up_proj.parameters())
    x = _draw(generator, (2, parts.up_proj.in_features), some)
    x = x / parts.gate_proj(x).float().std().clamp_min(1e-3).to(x.dtype)
    if _agrees(forward(module, x), module(x)):
        yield "gates", lambda: _bind(module, forward)


def _replace_rotation(
    module: nn.Module, generator: torch.Generator, turned: dict[type, Callable[..., Any] | None]
) -> Iterator[_Replacement]:
    """The rotation is no module but a function that the attention's forward pass calls: that pass gets another one."""
    kind = type(module)
    if kind not in turned:
        turned[kind] = _build_turned_pass(module, generator)
    forward = turned[kind]
    if forward is not None:
        yield "rotary positions", lambda: _bind(module, forward)


def _build_turned_pass(module: nn.Module, generator: torch.Generator) -> Callable[..., Any] | None:
    own: Any = type(module).forward
    size = getattr(module, "head_dim", None)
    if not isinstance(own, types.FunctionType) or _ROTATION not in own.__code__.co_names or not isinstance(size, int):
        return None
    plain = own.__globals__.get(_ROTATION)
    if plain is None:
        return None
    rotate = _build_rotation(plain)
    some = next(module.parameters())
    q, k = _draw(generator, (2, 3, 5, size), some), _draw(generator, (2, 1, 5, size), some)
    angles = torch.rand(1, 5, size // 2, generator=generator).repeat(1, 1, 2).to(some.device)
    cos, sin = angles.cos().to(q.dtype), angles.sin().to(q.dtype)
    if not _fits(q, cos) or not all(map(_agrees, rotate(q, k, cos, sin), plain(q, k, cos, sin))):
        return None
    known = {**own.__globals__, _ROTATION: rotate}
    forward = types.FunctionType(own.__code__, known, own.__name__, own.__defaults__, own.__closure__)
    forward.__kwdefaults__ = own.__kwdefaults__
    return forward


def _build_rotation(plain: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    def rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *more: Any, **named: Any) -> tuple[Tensor, Tensor]:
        if more or named or not (_fits(q, cos) and _fits(k, cos)):
            return plain(q, k, cos, sin, *more, **named)
        return _turn(q, cos, sin), _turn(k, cos, sin)

    return rotate


def _takes_one(forward: Callable[..., Any]) -> bool:
    """Tell whether a forward pass takes one tensor only: what more would do (a gate of a norm) is not tried here."""
    return len(inspect.signature(forward).parameters) == 2  # with `self`


def _fits(heads: Tensor, cos: Tensor) -> bool:
    """Tell whether all of every head (B, H, L, D) is turned by angles (B or 1, L, D), without a wider type."""
    if heads.dim() != 4 or cos.dim() != 3 or heads.dtype not in _DTYPES:
        return False
    batch, count, length, size = heads.shape
    return (
        cos.shape in {(1, length, size), (batch, length, size)}
        and size % 2 == 0
        and torch.promote_types(heads.dtype, cos.dtype) == heads.dtype
        and block_of(count) * block_of(size // 2) <= LONGEST_ROW
    )


def _replace_losses(model: Any, generator: torch.Generator) -> Iterator[_Replacement]:
    """A frozen head keeps what measures its logits: see `problems.causal_lm.token_loss`."""
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear or head.weight.requires_grad or head.weight.dtype not in _DTYPES:
        return
    logits = _draw(generator, (2, 70), head.weight)
    wide, wanted = logits.to(torch.float32, copy=True), torch.tensor([3, 69], device=logits.device)
    mine = measure_logits(logits, wanted, 1.0, keeps_gradient=True)
    plain = measure_plainly(wide, wanted, 1.0, keeps_gradient=True)
    if all(map(_agrees, (*mine, logits), (*plain, wide.to(logits.dtype)))):
        yield "vocabularies", lambda: setattr(head, "measure_logits", measure_logits)


def _draw(generator: torch.Generator, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return random numbers on the device of a weight, in its type where it is one that the kernels know."""
    dtype = like.dtype if like.dtype in _DTYPES else torch.bfloat16  # weights in 4 bits are stored as integers
    return torch.randn(shape, generator=generator).to(like.device, dtype)


def _agrees(mine: Tensor, plain: Tensor) -> bool:
    if mine.dtype != plain.dtype or mine.shape != plain.shape:
        return False
    gap = float((mine.double() - plain.double()).abs().max())
    return gap <= _LIMITS[mine.dtype] * float(plain.double().abs().max())


def _bind(module: Any, forward: Callable[..., Any]) -> None:
    module.forward = types.MethodType(forward, module)
