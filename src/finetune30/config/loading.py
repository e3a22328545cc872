"""From YAML files, command lines and request bodies to a validated `ExperimentConfig`, and back to YAML.

Precedence: defaults < YAML < overrides. Every fault is reported at once, with the file's line, the dotted key, the
value, what is allowed, and the nearest known key.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from finetune30.config.fields import (
    accepted_types,
    describe_allowed,
    field_schemas,
    reads_as_text,
    section_keys,
    suggest_key,
)
from finetune30.config.schema import ExperimentConfig
from finetune30.config.yaml_source import YamlDocument, load_yaml_text, load_yaml_value, resolves_to_text
from finetune30.errors import ConfigError

MAX_FILE_BYTES = 1_000_000
COMMAND_LINE = "command line"
SEARCH_HINT = "a search is made with: ft30 search start FILE"
REMEDY_KEYS = "see every key and its bounds: ft30 config schema --markdown"
REMEDY_SEARCH_KEYS = "see every key of a search and its bounds: ft30 config schema --search --markdown"

#: Keys that describe the model or data set of their file and mean nothing beside another one. Columns and splits stay:
#: where they do not fit, an error that names the right ones is better than a guess.
COMPANION_KEYS: dict[str, tuple[str, ...]] = {
    "model.name": ("model.revision", "model.offline_fallback", "lora.target_modules"),
    "model.problem_type": ("lora.target_modules", "data.max_length"),
    "data.dataset_name": (
        "data.dataset_config",
        "data.revision",
        "data.offline_fallback",
        "data.train_samples",
        "data.eval_samples",
    ),
    "data.dataset_config": ("data.train_samples", "data.eval_samples"),
}
_EXAMPLE = ExperimentConfig()
#: A companion that was chosen, not left at the default, is kept.
_KEPT_WHEN_CHOSEN = {
    "lora.target_modules": _EXAMPLE.lora.target_modules,
    "data.max_length": _EXAMPLE.data.max_length,
    "data.train_samples": _EXAMPLE.data.train_samples,
    "data.eval_samples": _EXAMPLE.data.eval_samples,
}


@dataclass(frozen=True)
class LoadedConfig:
    """A validated configuration and how it came about.

    `explicit` holds the dotted keys given on the command line (or in a request), `source` the file that was read,
    `notes` what the user should hear about, for example keys that another model made meaningless.
    """

    config: ExperimentConfig
    explicit: frozenset[str] = frozenset()
    source: Path | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a configuration; `line` counts from 1 and is None where there is no file."""

    key: str
    problem: str
    source: str
    line: int | None = None
    hint: str = ""

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        text = f"{place}: {self.key}: {self.problem}" if self.key else f"{place}: {self.problem}"
        return f"{text}; {self.hint}" if self.hint else text


def load_config(
    path: Path | None,
    overrides: Mapping[str, Any] | None = None,
    *,
    given_by: str = COMMAND_LINE,
    take_beside: Callable[[dict[str, Any], Places], list[Fault]] | None = None,
) -> LoadedConfig:
    """Load a configuration file, lay `overrides` (dotted keys) over it and validate the whole.

    `path` None means the schema's defaults; `given_by` says in faults where the overrides stood. `take_beside` takes
    what stands beside the sections of a run out of the tree of the file, and returns its faults. Raises ConfigError
    with every fault of the file and of the overrides.
    """
    overrides = dict(overrides or {})
    document, faults = _load_document(path)
    source = str(path) if path is not None else "defaults"
    tree = document.tree if isinstance(document.tree, dict) else {}
    notes = _drop_companions(tree, overrides, source)
    places = Places(source, document.lines, overrides, given_by)
    if take_beside is not None:
        faults += take_beside(tree, places)
    for key, value in overrides.items():
        _put(tree, tuple(key.split(".")), value)
    config, more = _validate(tree, places)
    faults += more
    if faults or config is None:
        raise config_error(faults)
    return LoadedConfig(config, frozenset(overrides), path, tuple(notes))


def validate_tree(tree: Any, *, source: str = "request") -> ExperimentConfig:
    """Validate a plain tree such as a request body; raises ConfigError with every fault."""
    if not isinstance(tree, dict):
        raise config_error([Fault("", f"must be an object with sections, not {show_value(tree)}", source)])
    config, faults = _validate(tree, Places(source, {}, {}))
    if faults or config is None:
        raise config_error(faults)
    return config


def load_override(key: str, text: str) -> Any:
    """Read the text of a command-line value as YAML would read it at `key`."""
    return load_yaml_value(text, stays_text=reads_as_text(tuple(key.split("."))))


def flatten_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Turn part of a configuration tree into dotted keys, ready as overrides."""
    return {".".join(path): value for path, value in _leaves(tree, ())}


def dump_config(config: ExperimentConfig, header: str = "") -> str:
    """Write a configuration as YAML in field order; `header` becomes comment lines at the top."""
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    return comment + _dump_tree(config.as_tree())


def dump_recorded(tree: Mapping[str, Any]) -> str:
    """Write the configuration of a recorded run as YAML; one that another version recorded, and this one cannot read,
    as it stands in the record.
    """
    try:
        return dump_config(validate_tree(dict(tree)))
    except ConfigError:
        return _dump_tree(tree)


def config_digest(config: ExperimentConfig) -> str:
    """Return the sha256 of what decides a result: canonical JSON without experiment_name and output_dir."""
    tree = config.as_tree()
    del tree["experiment_name"]
    del tree["training"]["output_dir"]
    canonical = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def config_error(faults: list[Fault]) -> ConfigError:
    """Return the error that reports these faults, one a line, in the order of the file; flags come last."""
    faults = sorted(faults, key=lambda fault: (fault.line is None, fault.line or 0))
    details = {
        "faults": [
            {"key": f.key, "problem": f.problem, "source": f.source, "line": f.line, "hint": f.hint} for f in faults
        ]
    }
    lines = [str(fault) for fault in faults]
    message = lines[0] if len(lines) == 1 else "\n".join([f"{len(lines)} faults in the configuration", *lines])
    is_of_search = all(fault.key.startswith("search.") for fault in faults)
    return ConfigError(message, REMEDY_SEARCH_KEYS if is_of_search else REMEDY_KEYS, details=details)


def _dump_tree(tree: Mapping[str, Any]) -> str:
    # libyaml writes the same in a quarter of the time, but for characters beyond the basic plane.
    is_basic = "\\ud" not in json.dumps(tree, default=str)
    text: str = yaml.dump(
        dict(tree),
        Dumper=_FastDumper if is_basic else _ConfigDumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=4096,
    )
    return text


class _ConfigDumper(yaml.SafeDumper):
    """Quotes every text that either YAML 1.1 or our reader would take for something else."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=_find_style(text))


@lru_cache(maxsize=1024)
def _find_style(text: str) -> str | None:
    """Return the quotes of a text; keys and most values of configurations are met again and again."""
    # Line breaks of other scripts (U+0085, U+2028) survive only as escapes, and those need double quotes.
    return '"' if not text.isprintable() else None if resolves_to_text(text) else "'"


class _FastDumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # it is a part of libyaml
    """The same by libyaml, where PyYAML was built with it."""


_ConfigDumper.add_representer(str, _represent_text)
_FastDumper.add_representer(str, _represent_text)


@dataclass(frozen=True)
class Places:
    """Where each key was written."""

    source: str
    lines: Mapping[tuple[str, ...], int]
    overrides: Mapping[str, Any]
    given_by: str = COMMAND_LINE

    def fault(self, path: tuple[str, ...], problem: str, hint: str = "") -> Fault:
        """Return the fault at a key, with the line of it or of what it stands in."""
        key = ".".join(path)
        if any(given == key or given.startswith(f"{key}.") or key.startswith(f"{given}.") for given in self.overrides):
            return Fault(key, problem, self.given_by, None, hint)
        known = next((path[:end] for end in range(len(path), 0, -1) if path[:end] in self.lines), None)
        return Fault(key, problem, self.source, self.lines[known] if known else None, hint)


def _load_document(path: Path | None) -> tuple[YamlDocument, list[Fault]]:
    if path is None:
        return YamlDocument({}), []
    document = copy.deepcopy(_parse_document(_load_text(path)))
    faults = [Fault(".".join(fault.path), fault.problem, str(path), fault.line) for fault in document.faults]
    if document.tree is not None and not isinstance(document.tree, dict):
        faults.append(Fault("", f"must hold sections (model:, data: …), not {show_value(document.tree)}", str(path), 1))
    if faults and document.tree is None:
        raise config_error(faults)
    return document, faults


@lru_cache(maxsize=16)
def _parse_document(text: str) -> YamlDocument:
    """Read a text that is met again and again, as the default configuration is by the API; callers copy it."""
    return load_yaml_text(text, reads_as_text)


def _load_text(path: Path) -> str:
    remedy = "give a YAML file, or list the shipped ones: ft30 config presets"
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ConfigError(f"config file {path} has {size} bytes, allowed are {MAX_FILE_BYTES}", remedy)
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise config_error([Fault("", f"not UTF-8 text (byte {error.start})", str(path), line)]) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"config file {str(path)!r} cannot be read: {reason}", remedy) from error


def _drop_companions(tree: dict[str, Any], overrides: Mapping[str, Any], source: str) -> list[str]:
    """Take out of the file what belonged to the model or data set that an override replaces."""
    notes: list[str] = []
    for name_key, companions in COMPANION_KEYS.items():
        before = _value_at(tree, tuple(name_key.split(".")))
        if name_key not in overrides or overrides[name_key] == before:
            continue
        dropped = [key for key in companions if key not in overrides and _take_out(tree, key)]
        if dropped:
            notes.append(
                f"{name_key} {overrides[name_key]!r} replaces that of {source}, and with it {', '.join(dropped)}"
            )
    return notes


def _take_out(tree: dict[str, Any], key: str) -> bool:
    """Remove a key; say whether it held anything."""
    section, leaf = key.split(".")
    part = tree.get(section)
    if not isinstance(part, dict) or (key in _KEPT_WHEN_CHOSEN and part.get(leaf) != _KEPT_WHEN_CHOSEN[key]):
        return False
    return part.pop(leaf, None) is not None


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        below = tree.get(part)
        if not isinstance(below, dict):
            below = tree[part] = {}
        tree = below
    tree[path[-1]] = value


def _validate(tree: dict[str, Any], places: Places) -> tuple[ExperimentConfig | None, list[Fault]]:
    tree = _without_empty_sections(tree)
    faults = _bool_faults(tree, places)
    found = {fault.key for fault in faults}
    try:
        config = ExperimentConfig.model_validate(tree)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            fault = _fault_from(detail, tree, places)
            if fault.key not in found or fault.key in section_keys():
                found.add(fault.key)
                faults.append(fault)
        return None, faults
    return config, faults


def _without_empty_sections(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Read a section whose keys are all commented out as an empty one."""
    cleaned: dict[str, Any] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if key in section_keys() and value is None:
            cleaned[name] = {}
        elif key in section_keys() and isinstance(value, dict):
            cleaned[name] = _without_empty_sections(value, f"{key}.")
        else:
            cleaned[name] = value
    return cleaned


def _bool_faults(tree: dict[str, Any], places: Places) -> list[Fault]:
    """Pydantic reads true as 1; nobody who writes `num_train_epochs: true` means that."""
    faults = []
    for path, value in _leaves(tree, ()):
        schema = field_schemas().get(".".join(path))
        if isinstance(value, bool) and schema is not None and "boolean" not in accepted_types(schema):
            faults.append(places.fault(path, f"{show_value(value)} is not allowed, must be {describe_allowed(schema)}"))
    return faults


def _fault_from(detail: Any, tree: dict[str, Any], places: Places) -> Fault:
    location = tuple(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        hint = SEARCH_HINT if location == ("search",) else suggest_key(location)
        return places.fault(location, "unknown key", hint)
    path = _longest_known(location)
    key = ".".join(path)
    if detail["type"] == "value_error":
        return places.fault(path, str(detail["ctx"]["error"]))
    value = show_value(_value_at(tree, path))
    if key in field_schemas():
        return places.fault(path, f"{value} is not allowed, must be {describe_allowed(field_schemas()[key])}")
    return places.fault(path, f"must be a section with keys, not {value}")


def _longest_known(location: tuple[str, ...]) -> tuple[str, ...]:
    for end in range(len(location), 0, -1):
        key = ".".join(location[:end])
        if key in field_schemas() or key in section_keys():
            return location[:end]
    return location


def _value_at(tree: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _leaves(tree: Mapping[str, Any], prefix: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in tree.items():
        path = (*prefix, str(name))
        if isinstance(value, Mapping) and value and ".".join(path) in section_keys():
            yield from _leaves(value, path)
        else:
            yield path, value


def show_value(value: Any) -> str:
    """Show a value the way it stands in YAML, short and safe for any terminal."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 80 else f"{text[:77]}..."
