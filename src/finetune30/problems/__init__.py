"""What a model can learn: one folder a problem, found here by the name that `model.problem_type` has.

A folder holds `data.py` with `PROBLEMS` (see `finetune30.data.problem`) and `training.py` with `TRAINABLES` (see
`finetune30.training.problem`). An installed package adds problems of its own with the entry-point group
`finetune30.problems`: the name of a problem -> the package that holds those two modules.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from finetune30.config.problem_types import AUTO, plugin_packages
from finetune30.errors import ConfigError

if TYPE_CHECKING:
    from finetune30.data.problem import Card, Problem, ProblemChoice, Targets

_LOG = logging.getLogger(__name__)
_HERE = "finetune30.problems"
#: Problem -> the package that holds it, imported when it is asked for.
PROBLEMS: dict[str, str] = {
    "single_label_classification": f"{_HERE}.classification",
    "multi_label_classification": f"{_HERE}.classification",
    "regression": f"{_HERE}.regression",
    "causal_lm": f"{_HERE}.causal_lm",
}


def load_problem(name: str) -> Problem:
    """Return what is known about rows of a problem. Raises ConfigError."""
    found: Problem = look_up(name, "data", "PROBLEMS")
    return found


def find_problem(name: str) -> Problem | None:
    """Return what is known about rows of a problem; None where nothing is: its package is not installed, or broken.

    For whoever shows records, which must be possible all the same. A broken package is a warning in the log.
    """
    try:
        return load_problem(name)
    except ConfigError as error:
        if name in plugin_packages():
            _LOG.warning("%s", error)
        return None


def choose_problem(name: str) -> ProblemChoice:
    """Return the problem of a configuration: `auto` tells it from the targets. Raises ConfigError."""
    if name == AUTO:
        from finetune30.problems.auto import TOLD_FROM_TARGETS

        return TOLD_FROM_TARGETS
    return load_problem(name)


def load_card(name: str, targets: Targets) -> Card:
    """Return what the card of a saved model says, without importing what computes. Raises ConfigError."""
    card: Card = look_up(name, "training", "TRAINABLES")(targets).card()
    return card


def scores_tokens(name: str, targets: Targets) -> bool:
    """Tell whether models of a problem are language models (`Trainable.scores_tokens`); see `load_card`."""
    return bool(look_up(name, "training", "TRAINABLES")(targets).scores_tokens)


def look_up(name: str, half: str, table: str) -> Any:
    """Return what a problem's package has under its name: in its module `half`, in the mapping `table`.

    Raises ConfigError where there is no such problem, or the installed package that says it has it cannot be used.
    """
    if name in PROBLEMS:
        return getattr(import_module(f"{PROBLEMS[name]}.{half}"), table)[name]
    package = _plugin(name)
    try:
        return getattr(import_module(f"{package}.{half}"), table)[name]
    except Exception as error:  # whatever code of others raises while it is imported
        cause = f"{table} has no '{name}'" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"the problem '{name}' cannot be used: its package '{package}' is broken ({half}: {cause})",
            "mend or update that package, or choose another model.problem_type",
        ) from error


def _plugin(name: str) -> str:
    package = plugin_packages().get(name)
    if package is None:
        known = ", ".join(sorted({*PROBLEMS, *plugin_packages()}))
        raise ConfigError(
            f"there is no problem '{name}'", f"use one of {known}, or install the package that the run was made with"
        )
    return package
