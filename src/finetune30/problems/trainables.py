"""The half of a problem that models need, apart from the other one: whoever only looks at rows stays free of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetune30.problems import look_up

if TYPE_CHECKING:
    from finetune30.data.problem import Targets
    from finetune30.training.problem import Trainable


def load_trainable(name: str, targets: Targets) -> Trainable:
    """Return what is known about models of a problem, for one set of targets. Raises ConfigError."""
    found: Trainable = look_up(name, "training", "TRAINABLES")(targets)
    return found
