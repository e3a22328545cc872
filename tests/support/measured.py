"""What a problem measures of outputs, as metrics.json has it without the training around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from finetune30.problems.shared.head import TextHead
from finetune30.problems.trainables import load_trainable


def compute_metrics(outputs: Any, targets: Any, problem_type: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the metrics of outputs (n, k), without the prefix of an evaluation."""
    problem = load_trainable(problem_type, {"label_names": list(names)})
    assert isinstance(problem, TextHead)
    return problem.measure(np.asarray(outputs, dtype=np.float32), np.asarray(targets))
