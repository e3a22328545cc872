"""JSON that stands as text in a cell or in a message: read so that nothing of it is lost."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any


class DoubledKeyError(ValueError):
    """A key stands twice in an object, and one of its values would be lost; the key, cut where it is long."""


def read_json(text: str) -> Any:
    """Return the value of a JSON text. Raises ValueError (DoubledKeyError: a key stands twice), RecursionError."""
    return json.loads(text, object_pairs_hook=_object_of)


def json_fix(error: Exception, where: str, otherwise: str) -> str:
    """Return what to do about a text that `read_json` refused: about a key that stands twice, else `otherwise`."""
    fix = f"{where}: the key {str(error)!r} stands twice in one object; keep one of them"
    return fix if isinstance(error, DoubledKeyError) else otherwise


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise DoubledKeyError(next(key for key, count in counts.items() if count > 1)[:40])
    return found
