"""The space of a search: what a suggestion consists of, and which configuration it means.

A suggestion is a label for every parameter, also for one that does not count under the others: of a list the index of
the value, of a range the number itself. So the space has one shape, whatever the conditions say.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from finetune30.config import ExperimentConfig
from finetune30.config.loading import validate_tree
from finetune30.config.schema import shorten_name
from finetune30.config.search import Parameter, SearchConfig
from finetune30.config.search_rules import is_fraction, is_whole

Label = int | float
Labels = Mapping[str, Label]


class Space:
    """The parameters of a search over a configuration, which stands for all that is not varied."""

    def __init__(self, config: ExperimentConfig, search: SearchConfig) -> None:
        self._tree = config.as_tree()
        self._config = config
        self.parameters: Mapping[str, Parameter] = search.parameters

    def is_whole(self, key: str) -> bool:
        """Tell whether the labels of a parameter are whole numbers."""
        return self.parameters[key].values is not None or is_whole(key)

    def base_value(self, key: str) -> Any:
        """Return the value of a key in the configuration."""
        value: Any = self._tree
        for part in key.split("."):
            value = value[part]
        return value

    def settle(self, labels: Labels) -> dict[str, Any]:
        """Return the values that a suggestion gives its keys; those whose conditions do not hold are left out."""
        values: dict[str, Any] = {}
        for key, parameter in self.parameters.items():
            if all(
                other in values and _is_among(values[other], wanted) for other, wanted in (parameter.when or {}).items()
            ):
                values[key] = self._value_of(key, parameter, labels[key], values)
        return values

    def labels_of_base(self) -> dict[str, Label] | None:
        """Return the labels that stand for the configuration itself; None where the space does not hold it."""
        labels: dict[str, Label] = {}
        for key, parameter in self.parameters.items():
            label = self._find_label(key, parameter)
            if label is None:
                return None
            labels[key] = label
        return labels

    def identify(self, values: Mapping[str, Any]) -> str:
        """Return what two suggestions have in common exactly when they mean the same configuration."""
        whole = {key: values.get(key, self.base_value(key)) for key in self.parameters}
        return json.dumps(whole, sort_keys=True)

    def apply(self, values: Mapping[str, Any], number: int) -> ExperimentConfig:
        """Return the configuration of a trial, under a name of its own. Raises ConfigError for values that clash."""
        tree: dict[str, Any] = self._config.as_tree()
        for key, value in values.items():
            *sections, leaf = key.split(".")
            part = tree
            for section in sections:
                part = part[section]
            part[leaf] = value
        tree["experiment_name"] = shorten_name(self._config.experiment_name, suffix=f"-trial{number}")
        return validate_tree(tree, source=f"trial {number}")

    def list_grid(self) -> Iterator[dict[str, Label]]:
        """Yield every combination in the order of the file, the last parameter changing first.

        A combination that means a configuration again, or the one of trial 0, is left out.
        """
        seen = {self.identify({})}
        choices = [self._grid_labels(key, parameter) for key, parameter in self.parameters.items()]
        for combination in product(*choices):
            labels = dict(zip(self.parameters, combination, strict=True))
            identity = self.identify(self.settle(labels))
            if identity not in seen:
                seen.add(identity)
                yield labels

    def _value_of(self, key: str, parameter: Parameter, label: Label, values: Mapping[str, Any]) -> Any:
        value: Any = label if parameter.values is None else parameter.values[int(label)]
        if parameter.times is not None:
            base = values.get(parameter.times, self.base_value(parameter.times))
            value = None if base is None else value * base  # what the key allows is asked when it is applied
        if is_whole(key) and isinstance(value, float) and value.is_integer():
            return int(value)
        return float(value) if is_fraction(key) and isinstance(value, int) and not isinstance(value, bool) else value

    def _find_label(self, key: str, parameter: Parameter) -> Label | None:
        value = self.base_value(key)
        if parameter.values is not None:
            for index in range(len(parameter.values)):
                if json.dumps(self._value_of(key, parameter, index, {})) == json.dumps(value):
                    return index
            return None
        assert parameter.low is not None  # noqa: S101 - a range has both
        assert parameter.high is not None  # noqa: S101
        if not isinstance(value, int | float) or not parameter.low <= value <= parameter.high:
            return None
        return value

    def _grid_labels(self, key: str, parameter: Parameter) -> list[Label]:
        if parameter.values is not None:
            return list(range(len(parameter.values)))
        assert parameter.points is not None  # noqa: S101 - the rules ask for it
        shares = [number / (parameter.points - 1) for number in range(parameter.points)]
        return list(dict.fromkeys(self.place(key, share, is_point=True) for share in shares))

    def place(self, key: str, share: float, *, is_point: bool = False) -> Label:
        """Return the label that lies at a share (0 to 1) of a parameter.

        Whole numbers have equal parts of the range each; as points of a grid the nearest one is taken.
        """
        parameter = self.parameters[key]
        if parameter.values is not None:
            return min(int(share * len(parameter.values)), len(parameter.values) - 1)
        assert parameter.low is not None  # noqa: S101 - a range has both
        assert parameter.high is not None  # noqa: S101
        low, high = parameter.low, parameter.high
        margin = 0.5 if is_whole(key) and not is_point else 0.0
        first, last = low - margin, high + margin
        if parameter.scale == "log":
            found = math.exp(math.log(first) + share * (math.log(last) - math.log(first)))
        else:
            found = first + share * (last - first)
        found = min(max(float(f"{found:.12g}") if is_point else found, low), high)  # people write 0.001
        return min(max(math.floor(found + 0.5), math.ceil(low)), math.floor(high)) if is_whole(key) else found


def _is_among(value: Any, wanted: list[Any]) -> bool:
    return any(json.dumps(value) == json.dumps(one) or (value == one and type(one) is not bool) for one in wanted)
