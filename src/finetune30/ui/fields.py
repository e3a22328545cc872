"""The fields of a configuration as the form needs them, read from the API's JSON Schema."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

#: What most people change, in this order; everything else is folded.
COMMON = (
    "experiment_name",
    "model.name",
    "model.num_labels",
    "training.num_train_epochs",
    "training.learning_rate",
    "training.per_device_train_batch_size",
    "data.train_samples",
    "data.eval_samples",
    "data.max_length",
    "lora.r",
    "lora.lora_alpha",
    "lora.lora_dropout",
)
#: Fields that the choice of data above the form sets.
CHOSEN_ELSEWHERE = ("data.dataset_name", "data.text_column", "data.text_pair_column", "data.label_column")


@dataclass(frozen=True)
class Field:
    """One value of the configuration; `kinds` are JSON Schema types, bounds are inclusive."""

    key: str
    kinds: frozenset[str]
    choices: tuple[Any, ...]
    item_choices: tuple[str, ...]
    item_kind: str | None
    default: Any
    minimum: float | None
    maximum: float | None
    description: str
    allowed: str

    @property
    def section(self) -> str:
        """The part of the configuration it belongs to; empty at the top."""
        return self.key.rpartition(".")[0]

    @property
    def nullable(self) -> bool:
        """Whether it may be left empty."""
        return "null" in self.kinds

    @property
    def is_whole(self) -> bool:
        """Whether it is a number without fraction."""
        return "integer" in self.kinds and "number" not in self.kinds


def load_fields(schema: Mapping[str, Any]) -> dict[str, Field]:
    """Return dotted key -> field, in the schema's order."""
    return {field.key: field for field in _walk(schema, schema, ())}


def get_value(tree: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key, None where there is none."""
    value: Any = tree
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def put_value(tree: Json, key: str, value: Any) -> None:
    """Set the value at a dotted key; what stands in the place of a section gives way."""
    *sections, last = key.split(".")
    for part in sections:
        if not isinstance(tree.get(part), dict):
            tree[part] = {}
        tree = tree[part]
    tree[last] = value


def merged(base: Mapping[str, Any], changed: Mapping[str, Any]) -> Json:
    """Return a copy of `base` in which what `changed` holds stands: the other way round of `difference`."""
    tree: Json = copy.deepcopy(dict(base))
    for key, value in changed.items():
        before = tree.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            tree[key] = merged(before, value)
        else:
            tree[key] = copy.deepcopy(value)
    return tree


def difference(tree: Mapping[str, Any], base: Mapping[str, Any]) -> Json:
    """Return the part of `tree` that differs from `base`."""
    changed: Json = {}
    for key, value in tree.items():
        before = base.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := difference(value, before):
                changed[key] = inner
        elif key not in base or value != before or type(value) is not type(before):
            changed[key] = value
    return changed


def _walk(root: Mapping[str, Any], node: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[Field]:
    node = _resolve(root, node)
    if "properties" not in node:
        yield _build_field(root, node, ".".join(path))
        return
    for name, below in node["properties"].items():
        yield from _walk(root, below, (*path, name))


def _resolve(root: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in node:
        return node
    target: Any = root
    for part in node["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return {**target, **{key: value for key, value in node.items() if key != "$ref"}}


def _build_field(root: Mapping[str, Any], node: Mapping[str, Any], key: str) -> Field:
    branches = [_resolve(root, branch) for branch in node.get("anyOf", ())] or [node]
    facts: Json = {}
    choices: list[Any] = []
    for branch in branches:
        facts |= {name: value for name, value in branch.items() if name not in ("description", "default")}
        choices += branch.get("enum", [branch["const"]] if "const" in branch else [])
    items = _resolve(root, facts.get("items", {}))
    kinds = frozenset(str(branch.get("type", "string")) for branch in branches)
    low, high = _bounds(facts, kinds)
    return Field(
        key=key,
        kinds=kinds,
        choices=tuple(choice for choice in choices if choice is not None),
        item_choices=tuple(items.get("enum", ())),
        item_kind=items.get("type"),
        default=node.get("default"),
        minimum=low,
        maximum=high,
        description=str(node.get("description", "")),
        allowed=str(node.get("allowed", facts.get("allowed", ""))),
    )


def _bounds(facts: Mapping[str, Any], kinds: frozenset[str]) -> tuple[float | None, float | None]:
    """Inclusive bounds; an excluded bound of a fraction moves inside by the smallest step that matters."""
    low, high = facts.get("minimum"), facts.get("maximum")
    step = 1 if "integer" in kinds else 1e-12
    if low is None and "exclusiveMinimum" in facts:
        low = facts["exclusiveMinimum"] + step
    if high is None and "exclusiveMaximum" in facts:
        high = facts["exclusiveMaximum"] - step
    return low, high
