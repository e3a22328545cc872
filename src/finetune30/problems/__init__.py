"""What a model can learn: one folder a problem, found here by the name that `model.problem_type` has.

A folder holds `data.py` with `PROBLEMS` (see `finetune30.data.problem`) and `training.py` with `TRAINABLES` (see
`finetune30.training.problem`). An installed package adds problems of its own with the entry-point group
`finetune30.problems`: the name of a problem -> the package that holds those two modules.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from finetune30.config.problem_types import AUTO, plugin_packages
from finetune30.errors import ConfigError

if TYPE_CHECKING:
    from finetune30.data.problem import Problem, ProblemChoice

_HERE = "finetune30.problems"
#: Problem -> the package that holds it, imported when it is asked for.
PROBLEMS: dict[str, str] = {
    "single_label_classification": f"{_HERE}.classification",
    "multi_label_classification": f"{_HERE}.classification",
    "regression": f"{_HERE}.regression",
}


def load_problem(name: str) -> Problem:
    """Return what is known about rows of a problem. Raises ConfigError."""
    found: Problem = import_module(f"{package_of(name)}.data").PROBLEMS[name]
    return found


def is_known(name: str) -> bool:
    """Tell whether a problem is the product's, or an installed package's."""
    return name in PROBLEMS or name in plugin_packages()


def choose_problem(name: str) -> ProblemChoice:
    """Return the problem of a configuration: `auto` tells it from the targets. Raises ConfigError."""
    if name == AUTO:
        from finetune30.problems.auto import TOLD_FROM_TARGETS

        return TOLD_FROM_TARGETS
    return load_problem(name)


def package_of(name: str) -> str:
    """Return the package that holds a problem. Raises ConfigError."""
    package = PROBLEMS.get(name) or plugin_packages().get(name)
    if package is None:
        known = ", ".join(sorted({*PROBLEMS, *plugin_packages()}))
        raise ConfigError(
            f"there is no problem '{name}'", f"use one of {known}, or install the package that the run was made with"
        )
    return package
