"""The routes as Markdown, made from the OpenAPI document itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from finetune30.api.access_gate import PUBLIC_PATHS, needed_role
from finetune30.api.application import build_app
from finetune30.config.reference import build_table
from finetune30.settings import Settings

_ERRORS_EVERYWHERE = frozenset({"400", "401", "403", "507"})


def build_markdown() -> str:
    """Return every route: what it does, who may ask, parameters, body, answers."""
    document = build_app(Settings()).openapi()
    titles = {tag["name"]: tag["description"] for tag in document["tags"]}
    by_tag: dict[str, list[str]] = {name: [] for name in titles}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            section = "\n\n".join(_describe(document, method.upper(), path, operation))
            by_tag.setdefault(operation["tags"][0], []).append(section)
    parts = [f"## {name.capitalize()}\n\n{titles.get(name, '')}\n\n" + "\n\n".join(by_tag[name]) for name in by_tag]
    return "\n\n".join(parts)


def _tell_role(method: str, path: str) -> str:
    if path in PUBLIC_PATHS:
        return "nobody needs a key"
    role = needed_role(method, path)
    return "any key" if role is None else f"role {role}"


def _describe(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### {method} {path}"
    yield f"{operation['description']} ({_tell_role(method, path)})"
    parameters = operation.get("parameters", [])
    if parameters:
        rows = [_parameter_row(parameter) for parameter in parameters]
        yield build_table(("Parameter", "In", "Allowed", "Meaning"), rows)
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield from _describe_body(document, media, content["schema"], "Body")
    for status, answer in operation["responses"].items():
        if not status.startswith("2"):
            continue
        for media, content in answer.get("content", {}).items():
            yield from _describe_body(document, media, content.get("schema", {}), f"{status}:")
        if not answer.get("content"):
            yield f"{status}: no body."
    others = [status for status in operation["responses"] if status[0] in "45" and status not in _ERRORS_EVERYWHERE]
    if others:
        yield f"Errors: {', '.join(others)}."


def _describe_body(document: dict[str, Any], media: str, schema: dict[str, Any], heading: str) -> Iterator[str]:
    resolved = _resolve(document, schema)
    yield f"{heading} `{media}`" + (f" — {resolved['description']}" if resolved.get("description") else "")
    if "properties" in resolved:
        rows = [_field_row(document, name, field) for name, field in resolved["properties"].items()]
        yield build_table(("Field", "Type", "Meaning", "Example"), rows)


def _parameter_row(parameter: dict[str, Any]) -> tuple[str, ...]:
    schema = parameter["schema"]
    name = f"`{parameter['name']}`" + (" (needed)" if parameter.get("required") else "")
    return name, parameter["in"], _type_of(schema), parameter.get("description", schema.get("description", ""))


def _field_row(document: dict[str, Any], name: str, field: dict[str, Any]) -> tuple[str, ...]:
    referred = _resolve(document, field)
    examples = field.get("examples") or referred.get("examples")
    example = f"`{json.dumps(examples[0], ensure_ascii=False)[:100]}`" if examples else ""
    return f"`{name}`", _type_of(field), field.get("description") or "", example


def _type_of(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type_of(option) for option in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type_of(schema['items'])}"
    words = str(schema.get("type", "any"))
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None and high < 1 << 62:
        words += f" {low:g} to {high:g}"
    elif low is not None:
        words += f" from {low:g}"
    return words + (f" (default {json.dumps(schema['default'])})" if schema.get("default") not in (None, []) else "")


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found
