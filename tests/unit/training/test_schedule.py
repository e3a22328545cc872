"""The learning rate against transformers' own schedules."""

import pytest
import torch
from transformers import get_scheduler

from finetune30.config import TrainingConfig
from finetune30.training.schedule import count_warmup_steps, learning_rate_at


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant_with_warmup", "constant"])
@pytest.mark.parametrize("warmup", [0, 3])
def test_learning_rate_equals_transformers_at_every_step(kind, warmup):
    config = TrainingConfig(lr_scheduler_type=kind, warmup_steps=warmup, learning_rate=0.01)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
    scheduler = get_scheduler(kind, optimizer, num_warmup_steps=warmup, num_training_steps=20)
    for step in range(20):
        assert learning_rate_at(step, 20, config) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        scheduler.step()


def test_warmup_steps_win_over_ratio_which_is_rounded_up():
    assert count_warmup_steps(TrainingConfig(warmup_ratio=0.1), 25) == 3
    assert count_warmup_steps(TrainingConfig(warmup_ratio=0.1, warmup_steps=7), 25) == 7
