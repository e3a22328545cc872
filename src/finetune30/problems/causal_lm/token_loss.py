"""The loss of supervised tokens, without logits of the others and without more than a chunk of them at a time.

Where the head is frozen, which it is under LoRA, its gradient is known by hand: see `vocabulary_losses`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from finetune30.data.encoding import IGNORED
from finetune30.errors import ModelError
from finetune30.training.vocabulary_losses import CHUNK_NUMBERS, Measure, chunk_rows, frozen_losses

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Largest difference of logits made here and by the model's own forward pass, relative to the largest of them.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class LogitsHead:
    """How a model makes logits of its last hidden states: a linear layer, a factor, and a cap (Gemma 2) by tanh."""

    linear: nn.Module
    factor: float = 1.0
    cap: float | None = None

    def of(self, model: PreTrainedModel) -> LogitsHead:
        """Return the same with the layer that a model has now: an adapter may have been put on it."""
        return replace(self, linear=model.get_output_embeddings())

    def logits(self, hidden: Tensor) -> Tensor:
        """Return float32 logits (N, V) of hidden states (N, H)."""
        logits = self.linear(hidden).float()
        if self.factor != 1.0:
            logits = logits * self.factor
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap

    @property
    def is_plain(self) -> bool:
        """Whether it is a frozen linear layer without bias, cap and adapter, so that its gradient is known by hand."""
        weight = getattr(self.linear, "weight", None)
        return (
            type(self.linear) is nn.Linear
            and self.linear.bias is None
            and self.cap is None
            and weight is not None
            and not weight.requires_grad
        )


def find_head(model: PreTrainedModel) -> LogitsHead:
    """Return how a causal model makes its logits, tried on a few tokens. Raises ModelError where it makes others."""
    config: Any = model.config.get_text_config()
    factor = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    linear: Any = model.get_output_embeddings()
    head = LogitsHead(linear, factor, getattr(config, "final_logit_softcapping", None))
    was_training = model.training
    model.eval()
    tokens = torch.arange(1, 9, device=model.device)[None, :] % config.vocab_size
    with torch.no_grad():
        own = model(input_ids=tokens, use_cache=False).logits.float()[0]
        made = head.logits(hidden_states(model, {"input_ids": tokens})[0])
    model.train(was_training)
    gap = float((own - made).abs().max())
    if not gap <= _TOLERANCE * max(1.0, float(own.abs().max())):
        raise ModelError(
            f"models of type '{model.config.model_type}' make their logits in a way that is not known here (they "
            f"differ by {gap:.3g})",
            "choose another base model",
        )
    return head


def hidden_states(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Tensor:
    """Return the last hidden states of a causal model, (B, L, H), as its head takes them."""
    states: Tensor = model.get_decoder()(**inputs, use_cache=False)[0]
    return states


def token_losses(head: LogitsHead, hidden: Tensor, targets: Tensor) -> Tensor:
    """Return for each token its loss and whether the target was the likeliest, float32 (B, L, 2).

    `hidden` (B, L, H); `targets` int64 (B, L), IGNORED where nothing is asked: loss and flag are 0 there. Gradients go
    into `hidden`, and into the head where it is trained.
    """
    flat = targets.reshape(-1)
    places = (flat != IGNORED).nonzero().squeeze(1)  # once: a GPU is waited for to learn how many there are
    states, wanted = hidden.reshape(-1, hidden.shape[-1])[places], flat[places]
    if head.is_plain:
        frozen: Any = _FrozenHead
        measure = getattr(head.linear, "measure_logits", None)  # put there by `training.gpu_kernels`
        losses, right = frozen.apply(states, head.linear.weight, wanted, head.factor, measure)
    else:
        losses, right = _through_head(head, states, wanted)
    found = torch.zeros((len(flat), 2), dtype=torch.float32, device=hidden.device)
    found[places] = torch.stack([losses, right], dim=-1).float()
    return found.view(*targets.shape, 2)


class _FrozenHead(torch.autograd.Function):
    """Losses of tokens under a frozen linear head; the gradient of each is made beside it, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, wanted: Tensor, factor: float, measure: Measure | None
    ) -> tuple[Tensor, Tensor]:
        """Return losses and flags, float32 (N,) each."""
        losses, right, gradient = frozen_losses(
            states, weight, wanted, factor, keeps_gradient=ctx.needs_input_grad[0], measure=measure
        )
        ctx.dtype = states.dtype
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(right)
        return losses, right

    @staticmethod
    def backward(ctx: Any, losses: Tensor, _: Tensor) -> tuple[Tensor, None, None, None, None]:
        """Return the gradient of the hidden states, (N, H)."""
        (gradient,) = ctx.saved_tensors
        return (gradient * losses[:, None].to(gradient.dtype)).to(ctx.dtype), None, None, None, None


def _through_head(head: LogitsHead, states: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The same through autograd, for heads that are trained or shaped: a chunk's logits are made again for backward."""
    vocabulary = int(getattr(head.linear, "out_features", CHUNK_NUMBERS))
    size = chunk_rows(vocabulary)
    losses, right = [], []
    for start in range(0, len(states), size):
        part = slice(start, start + size)
        loss, hit = checkpoint(_chunk(head), states[part], wanted[part], use_reentrant=False)
        losses.append(loss)
        right.append(hit)
    if not losses:
        return states.sum(dim=-1).float(), states.sum(dim=-1).float()
    return torch.cat(losses), torch.cat(right)


def _chunk(head: LogitsHead) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    def measure(states: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        logits = head.logits(states)
        right = (logits.detach().argmax(dim=-1) == wanted).float()
        return functional.cross_entropy(logits, wanted, reduction="none"), right

    return measure
