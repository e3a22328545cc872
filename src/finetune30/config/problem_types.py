"""The names of problems that a configuration may use: the product's own and those of installed packages."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic_core import PydanticCustomError

#: The problem is told from the targets.
AUTO = "auto"
#: Problems of the product, as `finetune30.problems` holds them.
CAUSAL_LM = "causal_lm"
OWN_PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression", CAUSAL_LM)
ENTRY_POINTS = "finetune30.problems"


@cache
def plugin_packages() -> dict[str, str]:
    """Return the problems of installed packages (entry-point group `finetune30.problems`): name -> package.

    The product's own names are not theirs to take.
    """
    from importlib.metadata import entry_points

    own = {AUTO, *OWN_PROBLEM_TYPES}
    return {found.name: found.value for found in entry_points(group=ENTRY_POINTS) if found.name not in own}


def known_problem_types() -> list[str]:
    """Return every value of `model.problem_type`."""
    return [AUTO, *OWN_PROBLEM_TYPES, *sorted(plugin_packages())]


def require_problem_type(name: str) -> str:
    """Return the name where it is one. Raises PydanticCustomError."""
    # Packages are looked at only for a name that is not ours: looking takes longer than reading a configuration.
    if name not in (AUTO, *OWN_PROBLEM_TYPES) and name not in plugin_packages():
        raise PydanticCustomError("problem_type", "unknown problem type")
    return name


def name_problem_types(schema: dict[str, Any]) -> None:
    """Write the allowed names into the field's JSON Schema."""
    schema["enum"] = known_problem_types()


def has_token_kinds(problem_type: str) -> bool:
    """Tell whether tokens of a problem's rows are of several kinds: what carries loss, context, template, cut."""
    return problem_type == CAUSAL_LM
