"""The draft in the address of Submit: a reload keeps it, and a copied link shares it.

`preset` names what it began from, each `set` is `key=value` (JSON) of what differs, `source` the source whose data are
still wanted. An address that the visit wrote itself is never read back: it may be one edit behind the draft.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import streamlit as st

from finetune30.ui.fields import put_value

Json = dict[str, Any]

PRESET, SET, SOURCE = "preset", "set", "source"
#: Characters, as an address writes them, beyond which programs between here and a friend cut it.
LONGEST = 6000


@dataclass(frozen=True)
class Draft:
    """A preset, what differs from it, and the source that was chosen without data (None: the data are the draft's)."""

    preset: str
    changed: Json
    source: str | None = None


def read_new() -> Draft | None:
    """Return the draft of an address that this visit has neither written nor taken."""
    preset, entries, source = _present()
    if not preset or _state_of(preset, entries, source) in _known():
        return None
    changed: Json = {}
    for entry in entries:
        key, sign, text = entry.partition("=")
        if sign and key.strip():
            put_value(changed, key.strip(), _value_of(text))
    return Draft(preset, changed, source or None)


def take() -> None:
    """The address of now has done what it can: it is not read again."""
    _known().add(_state_of(*_present()))


def write(draft: Draft) -> bool:
    """Put a draft into the address; False where it is too long for one."""
    entries = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in _leaves(draft.changed)]
    fits = sum(len(quote(entry)) for entry in entries) <= LONGEST
    wanted = (draft.preset, entries if fits else [], draft.source or "")
    _known().add(_state_of(*wanted))
    if _present() == wanted:
        return fits
    for name, value in zip((PRESET, SET, SOURCE), wanted, strict=True):
        if value:
            st.query_params[name] = value
        else:
            st.query_params.pop(name, None)
    return fits


def _present() -> tuple[str, list[str], str]:
    params = st.query_params
    return params.get(PRESET, ""), params.get_all(SET), params.get(SOURCE, "")


def _state_of(preset: str, entries: list[str], source: str) -> str:
    return json.dumps([preset, entries, source])


def _known() -> set[str]:
    known: set[str] = st.session_state.setdefault("draft_addresses", set())
    return known


def _value_of(text: str) -> Any:
    """Return a value written as JSON; what is none is text, and so are numbers without end, which no request holds."""
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return text
    return value


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
