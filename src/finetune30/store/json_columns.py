"""JSON for database columns: what every database takes, whatever the tree holds."""

from __future__ import annotations

import json
import math
import re
from typing import Any

_REFUSED_ESCAPE = re.compile(r"\\u(0000|d[89a-f])", re.IGNORECASE)


def dump_json_column(tree: Any) -> str:
    """Return ASCII JSON that SQLite and PostgreSQL take.

    NaN and infinities become null; NUL characters and lone surrogates, which jsonb refuses, become U+FFFD. A progress
    report or an error text from strange data must not keep a run from being recorded.
    """
    try:
        text = json.dumps(tree, allow_nan=False)
    except ValueError:
        return json.dumps(_without_refused(tree), allow_nan=False)
    return json.dumps(_without_refused(tree), allow_nan=False) if _REFUSED_ESCAPE.search(text) else text


def _without_refused(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {_without_refused(key): _without_refused(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_without_refused(value) for value in tree]
    if isinstance(tree, float):
        return tree if math.isfinite(tree) else None
    if isinstance(tree, str):
        return tree.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
    return tree
