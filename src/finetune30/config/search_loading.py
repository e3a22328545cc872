"""From a file with a section `search:`, or a request, to a configuration and the search over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from finetune30.config.field_types import Section
from finetune30.config.fields import describe_allowed, field_schemas
from finetune30.config.loading import COMMAND_LINE, Fault, LoadedConfig, Places, config_error, load_config, show_value
from finetune30.config.search import Parameter, SearchConfig, SearchConfirm, SearchLimits, SearchStop
from finetune30.config.search_rules import RANGE_OR_VALUES, find_parameter_faults

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
        details = error.errors(include_url=False)
        return None, [_fault_from(one, section, places) for one in details] + _faults_of_rest(section, details, places)
    faults = [places.fault((SECTION, *path), problem, hint) for path, problem, hint in find_parameter_faults(search)]
    return search, faults


def _faults_of_rest(section: Mapping[str, Any], details: Sequence[Any], places: Places) -> list[Fault]:
    """Return what is wrong with the parameters that can be read, where other keys of the section cannot."""
    unread = {tuple(str(part) for part in detail["loc"]) for detail in details}
    fields, keys = {path[0] for path in unread if path[0] != "parameters"}, {path[1] for path in unread if path[1:]}
    rest = {name: value for name, value in section.items() if name not in fields}
    parameters = rest.get("parameters")
    if not isinstance(parameters, dict) or parameters.keys() <= keys:
        return []
    rest["parameters"] = {key: value for key, value in parameters.items() if key not in keys}
    found = find_parameter_faults(SearchConfig.model_validate(rest))
    told = [one for one in found if one[0][0] not in fields and not ("when" in one[0] and one[0][-1] in keys)]
    return [places.fault((SECTION, *path), problem, hint) for path, problem, hint in told]


def _fault_from(detail: Any, section: Mapping[str, Any], places: Places) -> Fault:
    location = tuple(str(part) for part in detail["loc"])
    path = (SECTION, *location)
    if detail["type"] == "extra_forbidden":
        return places.fault(path, "unknown key", _suggest(location))
    if detail["type"] == "missing":
        return places.fault(path, "is missing", _EXAMPLE)
    value: Any = section
    for part in location:
        value = value.get(part) if isinstance(value, dict) else value
    schema = _schema_at(location)
    allowed = describe_allowed(schema) if schema else ""
    hint = RANGE_OR_VALUES if len(location) == 2 and location[0] == "parameters" else ""
    return places.fault(path, f"{show_value(value)} is not allowed, must be {allowed or 'a section with keys'}", hint)


def _suggest(location: tuple[str, ...]) -> str:
    """Return a hint for an unknown key of the section: the nearest one, else all that there are beside it."""
    *above, leaf = location
    dotted = ".".join(location[1:])
    if above[:1] == ["parameters"] and dotted in field_schemas():
        return f"write the key with its dots: {dotted}: {{values: …}}"
    below: Mapping[str, type[Section]] = {
        **{"limits": SearchLimits, "confirm": SearchConfirm, "stop": SearchStop},
        "parameters": Parameter,
    }
    known = list(below.get(above[0] if above else "", SearchConfig).model_fields)
    near = get_close_matches(leaf, known, n=1)
    return f"did you mean {'.'.join((SECTION, *above, near[0]))}?" if near else f"known: {', '.join(known)}"


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
