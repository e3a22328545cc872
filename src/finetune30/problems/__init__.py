"""What a model can learn: a package for each problem, imported when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from finetune30.blocks import Block

#: Name of a problem (`model.problem_type`) -> package with the module `view`.
PROBLEMS = {
    "single_label_classification": "finetune30.problems.classification",
    "multi_label_classification": "finetune30.problems.classification",
    "regression": "finetune30.problems.regression",
}

View = Callable[[Mapping[str, Any], Mapping[str, Any]], list[Block]]


def load_view(name: str) -> View | None:
    """Return the function that makes blocks of a run's metrics and targets; None for an unknown problem."""
    if name not in PROBLEMS:
        return None
    view: View = import_module(f"{PROBLEMS[name]}.view").view
    return view
