"""The other processes of a distributed training: they compute with process 0 and record nothing."""

from __future__ import annotations

import os

from finetune30.config.loading import LoadedConfig


def is_follower() -> bool:
    """Tell whether torchrun's launcher started this process as another one than the first."""
    return int(os.environ.get("RANK", "0")) > 0


def follow_training(loaded: LoadedConfig) -> None:
    """Take part in the training that process 0 records."""
    from finetune30.service.execution.experiment import build_experiment, load_inputs
    from finetune30.training.loop import train
    from finetune30.training.progress import QuietHooks

    inputs = load_inputs(loaded.config, loaded.explicit, _ignore, None)
    experiment = build_experiment(inputs, _ignore)
    train(
        experiment.engine,
        experiment.train_split,
        experiment.evaluation_split,
        inputs.config.training,
        experiment.problem,
        QuietHooks(),  # process 0 reports and decides
    )


def _ignore(_: str) -> None:
    """Process 0 logs."""
