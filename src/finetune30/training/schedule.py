"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from finetune30.config import TrainingConfig


def count_warmup_steps(config: TrainingConfig, total_steps: int) -> int:
    """Return the warm-up steps: warmup_steps when above 0, else warmup_ratio of all steps, rounded up."""
    return config.warmup_steps or math.ceil(config.warmup_ratio * total_steps)


def learning_rate_at(step: int, total_steps: int, config: TrainingConfig) -> float:
    """Return the learning rate of step `step` (counted from 0), in the shapes of transformers' schedules."""
    warmup = count_warmup_steps(config, total_steps)
    kind = config.lr_scheduler_type
    if kind != "constant" and step < warmup:
        return config.learning_rate * step / max(1, warmup)
    if kind in ("constant", "constant_with_warmup"):
        return config.learning_rate
    done = (step - warmup) / max(1, total_steps - warmup)
    if kind == "cosine":
        return config.learning_rate * max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))
    return config.learning_rate * max(0.0, 1.0 - done)


def count_total_steps(config: TrainingConfig, steps_per_epoch: int) -> int:
    """Return how many optimizer steps a training takes: max_steps, else all epochs."""
    return config.max_steps or steps_per_epoch * config.num_train_epochs


def keeps_rates(config: TrainingConfig, planned_before: int, planned_now: int, steps_taken: int) -> bool:
    """Tell whether another number of planned steps leaves the rate of every step taken so far as it was."""
    return all(
        learning_rate_at(step, planned_before, config) == learning_rate_at(step, planned_now, config)
        for step in range(steps_taken)
    )
