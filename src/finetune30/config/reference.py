"""The reference of all configuration keys, as JSON Schema and as Markdown, made from the schema itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from finetune30.config.fields import describe_allowed, field_schemas
from finetune30.config.schema import ExperimentConfig
from finetune30.config.search import SearchConfig

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_COLUMNS = ("Key", "Default", "Allowed", "Meaning")


def build_json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a configuration file."""
    return {"$schema": _DIALECT, **ExperimentConfig.model_json_schema()}


def build_markdown() -> str:
    """Return one Markdown table a section: key, default, what is allowed, meaning."""
    sections: dict[str, list[tuple[str, ...]]] = {}
    for key, schema in field_schemas().items():
        cells = (f"`{key}`", f"`{_plain(_default(key))}`", describe_allowed(schema), schema.get("description", ""))
        sections.setdefault(key.rpartition(".")[0], []).append(cells)
    parts = [f"### {section or 'experiment'}\n\n{build_table(_COLUMNS, rows)}" for section, rows in sections.items()]
    return "\n\n".join(parts)


def build_search_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the section `search:`."""
    return {"$schema": _DIALECT, **SearchConfig.model_json_schema()}


def build_search_markdown() -> str:
    """Return one Markdown table of the section `search:`; KEY stands for the key that a parameter varies."""
    root = SearchConfig.model_json_schema()
    rows: list[tuple[str, ...]] = []

    def walk(schema: dict[str, Any], prefix: str) -> None:
        for name, field in schema["properties"].items():
            each = field.get("additionalProperties", {})
            reference = field.get("$ref") or (each.get("$ref") if isinstance(each, dict) else None)
            if reference:
                below = root["$defs"][reference.rpartition("/")[2]]
                walk(below, f"{prefix}{name}." if "$ref" in field else f"{prefix}{name}.KEY.")
                continue
            default = "" if "default" not in field else f"`{_plain(field['default'])}`"
            allowed = describe_allowed(field) or "keys with lists of values, or null"
            rows.append((f"`{prefix}{name}`", default, allowed, field.get("description", "")))

    walk(root, "search.")
    return build_table(_COLUMNS, rows)


def build_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    return "\n".join(_row(cells) for cells in (columns, ("---",) * len(columns), *rows))


def _default(key: str) -> Any:
    value: Any = ExperimentConfig().as_tree()
    for part in key.split("."):
        value = value[part]
    return value


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
