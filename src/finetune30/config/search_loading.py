"""From a file with a section `search:`, or a request, to a configuration and the search over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from finetune30.config.fields import describe_allowed
from finetune30.config.loading import COMMAND_LINE, Fault, LoadedConfig, Places, config_error, load_config, show_value
from finetune30.config.search import SearchConfig
from finetune30.config.search_rules import find_parameter_faults

SECTION = "search"
_EXAMPLE = "for example search: {trials: 20, parameters: {training.learning_rate: {low: 1e-5, high: 1e-3, scale: log}}}"


@dataclass(frozen=True)
class LoadedSearch:
    """A configuration, which is trial 0, and the search over it."""

    loaded: LoadedConfig
    search: SearchConfig


def load_search(path: Path | None, overrides: Mapping[str, Any] | None = None, **given: Any) -> LoadedSearch:
    """Load a configuration file with its section `search:`; `overrides` are those of the configuration.

    `given` lays fields of the search over the section (`trials`). Raises ConfigError with every fault of both.
    """
    found: list[SearchConfig | None] = []

    def take(tree: dict[str, Any], places: Places) -> list[Fault]:
        section = tree.pop(SECTION, None)
        if isinstance(section, dict):
            section = {**section, **given}
        search, faults = _read_section(section, places)
        found.append(search)
        return faults

    loaded = load_config(path, overrides, take_beside=take)
    assert found[0] is not None  # noqa: S101 - else its faults were raised
    return LoadedSearch(loaded, found[0])


def validate_search(tree: Any, *, source: str = "request") -> SearchConfig:
    """Validate the section of a request or a record; raises ConfigError with every fault."""
    search, faults = _read_section(tree, Places(source, {}, {}, COMMAND_LINE))
    if faults or search is None:
        raise config_error(faults)
    return search


def check_beside(tree: dict[str, Any], places: Places) -> list[Fault]:
    """Take the section out of the tree of a file, where there is one, and return its faults."""
    return _read_section(tree.pop(SECTION), places)[1] if SECTION in tree else []


def _read_section(section: Any, places: Places) -> tuple[SearchConfig | None, list[Fault]]:
    if not isinstance(section, dict):
        said = "is missing" if section is None else f"must be a section with keys, not {show_value(section)}"
        return None, [places.fault((SECTION,), said, _EXAMPLE)]
    try:
        search = SearchConfig.model_validate(section)
    except ValidationError as error:
        return None, [_fault_from(detail, section, places) for detail in error.errors(include_url=False)]
    faults = [places.fault((SECTION, *path), problem, hint) for path, problem, hint in find_parameter_faults(search)]
    return search, faults


def _fault_from(detail: Any, section: Mapping[str, Any], places: Places) -> Fault:
    location = tuple(str(part) for part in detail["loc"])
    path = (SECTION, *location)
    if detail["type"] == "extra_forbidden":
        return places.fault(path, "unknown key", f"see docs/searching.md; {_EXAMPLE}")
    if detail["type"] == "missing":
        return places.fault(path, "is missing", _EXAMPLE)
    value: Any = section
    for part in location:
        value = value.get(part) if isinstance(value, dict) else value
    schema = _schema_at(location)
    allowed = describe_allowed(schema) if schema else ""
    return places.fault(path, f"{show_value(value)} is not allowed, must be {allowed or 'a section with keys'}")


def _schema_at(location: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the JSON Schema of a leaf of the section, None for what has keys of its own."""
    root = SearchConfig.model_json_schema()
    definitions = root["$defs"]
    found: dict[str, Any] = root
    for part in location:
        found = definitions.get(found.get("$ref", "").removeprefix("#/$defs/"), found)
        inner = found.get("properties", {}).get(part) or found.get("additionalProperties")
        if not isinstance(inner, dict):
            break
        found = inner
    return None if "$ref" in found or found.get("type") == "object" else found
