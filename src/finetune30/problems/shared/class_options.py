"""Options of a training that mean something for classes only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetune30.errors import ConfigError

if TYPE_CHECKING:
    from finetune30.config import TrainingConfig

_OFF = {
    "class_weights": None,
    "label_smoothing": 0.0,
    "temperature_scaling": False,
    "threshold_tuning": False,
    "abstention_risk": None,
}


def refuse_class_options(training: TrainingConfig, problem: str) -> None:
    """Raise ConfigError where one of them is asked for and nothing is classified."""
    for key, off in _OFF.items():
        if getattr(training, key) != off:
            raise ConfigError(
                f"training.{key} is for classifiers, and the problem of these rows is {problem}",
                f"leave training.{key} out",
            )
