"""Server-sent events, as the API sends the pieces of an answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any


def read_events(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield kind and data of every event of a stream of lines; what is no event of JSON is left out."""
    kind, data = "message", ""
    for line in lines:
        field, _, value = line.partition(":")
        if field == "event":
            kind = value.strip()
        elif field == "data":
            data += value
        elif not line and data:
            yield kind, json.loads(data)
            kind, data = "message", ""
