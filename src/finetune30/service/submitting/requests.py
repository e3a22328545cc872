"""What a request to train means: preset, short names and part of the tree, laid over each other and validated.

A request comes from elsewhere, so it may name files only where the settings allow it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune30.config.fields import SHORT_NAMES, reads_as_text, section_keys
from finetune30.config.loading import Fault, LoadedConfig, config_error, flatten_tree, load_config
from finetune30.config.presets import default_config_path, preset_path
from finetune30.config.yaml_source import YamlDocument, load_yaml_text
from finetune30.errors import ConfigError
from finetune30.service.submitting.named_files import find_file_faults
from finetune30.settings import Settings
from finetune30.values import is_text

SOURCE = "request"
#: A request's texts are names and paths; none needs to be longer.
MAX_TEXT = 10_000
MAX_ITEMS = 10_000
MAX_DEPTH = 12


def load_requested_config(
    request: Mapping[str, Any], settings: Settings, working_folder: Path | None = None
) -> LoadedConfig:
    """Return the configuration that a request asks for: preset (else config/default.yaml) < `config` < short names.

    `request` holds the keys of POST /train. Raises NotFoundError for an unknown preset, ConfigError with every fault,
    also for a key that is given twice with different values and for a file outside of the allowed folders.
    """
    overrides, faults = _collect_overrides(request)
    if faults:
        raise config_error(faults)
    preset = request.get("preset")
    path = preset_path(preset) if preset is not None else default_config_path(working_folder or Path.cwd())
    loaded = load_config(path, overrides, given_by=SOURCE)
    if faults := find_file_faults(loaded.config, settings, SOURCE):
        raise config_error(faults)
    return loaded


def load_yaml_request(text: str, request: Mapping[str, Any], settings: Settings) -> LoadedConfig:
    """Like `load_requested_config`, with the text of a configuration file in the place of `config`.

    Raises ConfigError with every fault, those of the text with their lines.
    """
    if "config" in request:
        raise config_error([Fault("yaml", "is given beside config, which says the same", SOURCE)])
    document = load_yaml_text(text, reads_as_text)
    faults = [Fault(".".join(fault.path), fault.problem, "yaml", fault.line) for fault in document.faults]
    if document.tree is not None and not isinstance(document.tree, dict):
        faults.append(Fault("", "must hold sections (model:, data: …)", "yaml", 1))
    if faults:
        raise config_error(faults)
    try:
        return load_requested_config({**request, "config": document.tree or {}}, settings)
    except ConfigError as error:
        for fault in error.details["faults"]:
            fault["line"] = fault["line"] or _line_of(document, str(fault["key"]))
        raise


def _line_of(document: YamlDocument, key: str) -> int | None:
    path = tuple(key.split("."))
    return next((document.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in document.lines), None)


def _collect_overrides(request: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    tree = request.get("config") or {}
    faults = _size_faults(request)
    if faults:
        return {}, faults
    overrides = flatten_tree(tree)
    overrides = {key: value for key, value in overrides.items() if not (key in section_keys() and value in ({}, None))}
    for name, key in SHORT_NAMES.items():
        value = request.get(name)
        if value is None:
            continue
        if key in overrides and overrides[key] != value:
            faults.append(Fault(key, f"is given twice, as {name} and in config, with different values", SOURCE))
        overrides[key] = value
    return overrides, faults


def _size_faults(request: Mapping[str, Any]) -> list[Fault]:
    """Return what is too long or deep to look at, and texts that no database can keep."""
    faults: list[Fault] = []
    left: list[tuple[str, Any, int]] = [("", request, 0)]
    while left:
        key, value, depth = left.pop()
        if depth > MAX_DEPTH:
            faults.append(Fault(key[:200], f"is nested deeper than {MAX_DEPTH}", SOURCE))
        elif isinstance(value, Mapping | list) and len(value) > MAX_ITEMS:
            faults.append(Fault(key, f"has {len(value)} entries, allowed are {MAX_ITEMS}", SOURCE))
        elif isinstance(value, Mapping):
            faults += [fault for name in value if (fault := _text_fault(key, str(name)))]
            left += [(f"{key}.{name}".lstrip("."), below, depth + 1) for name, below in value.items()]
        elif isinstance(value, list):
            left += [(key, below, depth + 1) for below in value]
        elif isinstance(value, str) and (fault := _text_fault(key, value)):
            faults.append(fault)
    return faults


def _text_fault(key: str, text: str) -> Fault | None:
    if len(text) > MAX_TEXT:
        return Fault(key[:200], f"has {len(text)} characters, allowed are {MAX_TEXT}", SOURCE)
    if "\x00" in text or not is_text(text):
        return Fault(key[:200].encode(errors="backslashreplace").decode(), "holds a character that is no text", SOURCE)
    return None
