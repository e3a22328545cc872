"""AdamW on one flat tensor (Loshchilov & Hutter 2019, algorithm 2), without importing torch.optim.

`torch.optim`'s first constructor imports the compiler stack, about a second; the fused operator behind it is public
enough to be found at run time, and a few tensor operations stand in where it is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from finetune30.training.packed.parameters import TrainableWeights


@dataclass(frozen=True)
class AdamWSettings:
    """Hyper-parameters; `max_grad_norm` 0 means never clip."""

    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    max_grad_norm: float


class FlatAdamW:
    """Clips the global gradient norm and takes AdamW steps over flat weights."""

    def __init__(self, weights: TrainableWeights, settings: AdamWSettings) -> None:
        self._weights, self._settings = weights, settings
        self._first_moment = torch.zeros_like(weights.values)
        self._second_moment = torch.zeros_like(weights.values)
        self._step_count = torch.zeros((), dtype=torch.float32)
        self._has_fused = hasattr(torch.ops.aten, "_fused_adamw_")

    def step(self, learning_rate: float) -> Tensor:
        """Clip, step, clear gradients; return the norm before clipping. A norm that is not finite changes no weight."""
        weights, settings = self._weights, self._settings
        norm: Tensor = torch.linalg.vector_norm(weights.gradients)
        size = float(norm)
        if math.isfinite(size):
            # As torch.nn.utils.clip_grad_norm_: the epsilon keeps an all-zero gradient from dividing by zero.
            clips = 0.0 < settings.max_grad_norm < size + 1e-6
            self._update(learning_rate, (size + 1e-6) / settings.max_grad_norm if clips else None)
        weights.gradients.zero_()
        return norm

    def state(self) -> dict[str, Tensor]:
        """Return moments and step count."""
        return {
            "exp_avg": self._first_moment.clone(),
            "exp_avg_sq": self._second_moment.clone(),
            "step": self._step_count.clone(),
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned."""
        self._first_moment.copy_(state["exp_avg"])
        self._second_moment.copy_(state["exp_avg_sq"])
        self._step_count.copy_(state["step"])

    def _update(self, learning_rate: float, divisor: float | None) -> None:
        self._step_count += 1
        border = self._weights.decayed_count
        decay = self._settings.weight_decay
        if decay == 0.0:
            self._update_part(slice(None), learning_rate, 0.0, divisor)
        else:
            self._update_part(slice(0, border), learning_rate, decay, divisor)
            self._update_part(slice(border, None), learning_rate, 0.0, divisor)

    def _update_part(self, part: slice, learning_rate: float, weight_decay: float, divisor: float | None) -> None:
        """Take a step with the gradients, divided by `divisor` if given."""
        values, gradients = self._weights.values[part], self._weights.gradients[part]
        first, second = self._first_moment[part], self._second_moment[part]
        settings = self._settings
        if self._has_fused:
            # The operator expects the count after this step, as torch.optim gives it.
            torch.ops.aten._fused_adamw_(
                [values],
                [gradients],
                [first],
                [second],
                [],
                [self._step_count],
                lr=learning_rate,
                beta1=settings.beta1,
                beta2=settings.beta2,
                weight_decay=weight_decay,
                eps=settings.epsilon,
                amsgrad=False,
                maximize=False,
                # One pass less over the gradients.
                grad_scale=None if divisor is None else torch.tensor(divisor),
            )
            return
        if divisor is not None:
            gradients.div_(divisor)
        count = float(self._step_count)
        values.mul_(1.0 - learning_rate * weight_decay)
        first.lerp_(gradients, 1.0 - settings.beta1)
        second.mul_(settings.beta2).addcmul_(gradients, gradients, value=1.0 - settings.beta2)
        denominator = second.sqrt().div_(math.sqrt(1.0 - settings.beta2**count)).add_(settings.epsilon)
        values.addcdiv_(first, denominator, value=-learning_rate / (1.0 - settings.beta1**count))
