"""Losses of tokens under a frozen vocabulary layer, chunk by chunk, with the gradient by hand.

Logits of a vocabulary of 50,000 take 200 kB a token in float32, more than all that the layers keep of it. So they are
made for a few hundred tokens, turned into loss and gradient (softmax minus one at the target, times the layer's
weight), and forgotten: what stays is of the size of the hidden states.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Logits that exist at one time, in numbers: 64 MiB in float32.
CHUNK_NUMBERS = 1 << 24
_LEAST_ROWS = 16


class TokenLosses(NamedTuple):
    """Of each token its loss and whether its target was the likeliest, (N,) each; the states' gradient (N, H), or None.

    Float32; float64 for float64 states.
    """

    losses: Tensor
    right: Tensor
    gradient: Tensor | None


def chunk_rows(vocabulary: int) -> int:
    """Return how many tokens' logits are made at a time."""
    return max(_LEAST_ROWS, CHUNK_NUMBERS // max(1, vocabulary))


def frozen_losses(
    states: Tensor, weight: Tensor, wanted: Tensor, factor: float = 1.0, *, keeps_gradient: bool
) -> TokenLosses:
    """Return losses of states (N, H) under logits `factor` * states @ weight.T; weight (V, H), wanted int64 (N,)."""
    wide = torch.promote_types(states.dtype, torch.float32)
    losses = torch.empty(len(states), dtype=wide, device=states.device)
    right = torch.empty_like(losses)
    # In fp16 what is small here would be lost before the loss scale is put on it.
    kept = torch.float32 if states.dtype == torch.float16 else states.dtype
    gradient = torch.empty_like(states, dtype=kept) if keeps_gradient else None
    size = chunk_rows(weight.shape[0])
    for start in range(0, len(states), size):
        part = slice(start, start + size)
        logits = (states[part] @ weight.T).to(wide)
        if factor != 1.0:
            logits *= factor
        target = wanted[part][:, None]
        right[part] = (logits.argmax(dim=-1) == wanted[part]).to(wide)
        logits -= logits.amax(dim=-1, keepdim=True)
        chosen = logits.gather(1, target).squeeze(1)
        total = logits.exp_().sum(dim=-1, keepdim=True)
        losses[part] = total.squeeze(1).log() - chosen
        if gradient is not None:
            logits /= total
            logits.scatter_add_(1, target, torch.full_like(target, -1, dtype=logits.dtype))
            if factor != 1.0:
                logits *= factor
            gradient[part] = (logits.to(weight.dtype) @ weight).to(gradient.dtype)
    return TokenLosses(losses, right, gradient)
