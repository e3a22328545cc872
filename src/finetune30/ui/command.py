"""The `ft30` command that submits what the form holds."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from typing import Any

#: Text that YAML and the shell read as it stands.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@:-]*(?<!:)")
_OTHER_THAN_TEXT = frozenset("null true false yes no on off y n".split())


def submit_command(request: Mapping[str, Any], keys: Collection[str]) -> str:
    """Return the command of a request (`preset`, `config`, `priority`), a flag a line; `keys` are those of the form."""
    flags = [("--preset", str(request["preset"])), *_flags(request.get("config") or {}, keys, "")]
    if request.get("priority"):
        flags.append(("--priority", str(request["priority"])))
    return " \\\n  ".join(["ft30 submit", *(f"{flag} {shlex.quote(value)}" for flag, value in flags)])


def _flags(tree: Mapping[str, Any], keys: Collection[str], above: str) -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        key = f"{above}{name}"
        if isinstance(value, Mapping) and key not in keys:
            yield from _flags(value, keys, f"{key}.")
        else:
            yield f"--{key}", _spell(value)


def _spell(value: Any) -> str:
    """Return a value as the flags read it: as YAML does."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _OTHER_THAN_TEXT:
        return value
    return json.dumps(value, ensure_ascii=False)
