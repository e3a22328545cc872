"""Answers of the stand-in hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_JSON = {"Content-Type": "application/json; charset=utf-8"}


@dataclass(frozen=True)
class Answer:
    """What goes back. `is_content`: a file's content, or the JSON of a listing, that a fault may damage."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_content: bool = False


def refuse(status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None) -> Answer:
    """Build an error as the hub words it: in headers, for clients that asked with HEAD, and as JSON."""
    told = {"X-Error-Code": code, "X-Error-Message": message}
    told = {name: value for name, value in told.items() if value}
    return Answer(status, json.dumps({"error": message}).encode(), {**_JSON, **told, **(headers or {})})


def as_json(value: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """Build an answer in JSON."""
    return Answer(200, json.dumps(value).encode(), {**_JSON, **(headers or {})}, is_content=True)
