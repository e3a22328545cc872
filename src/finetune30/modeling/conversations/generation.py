"""Going on with token ids, a token at a time, with the keys and values of all earlier ones kept.

Greedy unless a temperature is given. Drawing has a generator of its own: the same seed gives the same answer, and no
other random stream moves.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

#: Why an answer ended: the model said so, it was as long as allowed, or the model knows no more positions.
EndReason = Literal["stop", "length", "positions"]


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. `temperature` 0: always the likeliest one. `top_p`: of the likeliest that have this share.

    `top_k`: of so many likeliest, 0: all. Sampling is that of Holtzman et al. 2020 (nucleus) and Fan et al. 2018.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Generated:
    """Token ids that a model went on with, without the one that ended them, and why they ended."""

    ids: list[int]
    reason: EndReason


@dataclass(frozen=True)
class Ended:
    """Why an answer that was told piece by piece ended, and how many tokens it has without the one that ended it."""

    reason: EndReason
    tokens: int


def generate(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], stops: frozenset[int], sampling: Sampling, pad: int
) -> list[Generated]:
    """Go on with prompts of token ids, all at once; in their order."""
    found: list[list[int]] = [[] for _ in prompts]
    reasons: list[EndReason] = ["length"] * len(prompts)
    for tokens in stream(model, prompts, stops, sampling, pad):
        for row, token in enumerate(tokens):
            if isinstance(token, str):
                reasons[row] = token
            elif token is not None:
                found[row].append(token)
    return [Generated(ids, reason) for ids, reason in zip(found, reasons, strict=True)]


def stream(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], stops: frozenset[int], sampling: Sampling, pad: int
) -> Iterator[list[int | EndReason | None]]:
    """Yield for each step the next token of every prompt, its reason to end at the step when it ends, then None."""
    import torch

    device = model.device
    width = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    generator = torch.Generator(device="cpu").manual_seed(sampling.seed)
    limit, taken = count_positions(model), _arguments(model)
    ended = [False] * len(prompts)
    cache: Any = None
    for step in range(sampling.max_new_tokens):
        with torch.inference_mode():  # never across a yield: whoever reads may compute something else meanwhile
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            further = {"position_ids": positions, "logits_to_keep": 1}
            answer = model(
                input_ids=ids,
                attention_mask=mask,
                past_key_values=cache,
                use_cache=True,
                **{name: value for name, value in further.items() if name in taken},
            )
            cache = answer.past_key_values
            chosen = _choose(answer.logits[:, -1].float(), sampling, generator)
        said: list[int | EndReason | None] = []
        for row, token in enumerate(chosen.tolist()):
            full = limit is not None and len(prompts[row]) + step >= limit
            said.append(None if ended[row] else "positions" if full else "stop" if token in stops else token)
            ended[row] = ended[row] or full or token in stops
        yield said
        if all(ended):
            return
        ids = chosen[:, None].to(device)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)


def _choose(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> torch.Tensor:
    """Return the next token of each row, int64 (B,); logits float32 (B, V)."""
    import torch

    if sampling.temperature == 0.0:
        return logits.argmax(dim=-1).cpu()
    scaled = (logits / sampling.temperature).cpu()
    ordered, order = scaled.sort(dim=-1, descending=True)
    if sampling.top_k:
        ordered[:, sampling.top_k :] = float("-inf")
    shares = ordered.softmax(dim=-1)
    ordered[(shares.cumsum(dim=-1) - shares) >= sampling.top_p] = float("-inf")
    drawn = torch.multinomial(ordered.softmax(dim=-1), 1, generator=generator)
    return order.gather(1, drawn).squeeze(1)


def _arguments(model: PreTrainedModel) -> frozenset[str]:
    """Return what the forward pass of a model takes; some families tell places by their distance alone."""
    wrapped: Any = model
    base = wrapped.get_base_model() if hasattr(wrapped, "get_base_model") else wrapped
    return frozenset(inspect.signature(base.forward).parameters)


def count_positions(model: PreTrainedModel) -> int | None:
    """Return how many tokens a model reads at most, None where its configuration names no limit."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None
