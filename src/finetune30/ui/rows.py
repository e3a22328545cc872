"""Rows of a dataset version, whatever its columns: what is shown of their texts and targets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from finetune30.ui import display
from finetune30.ui.session import t

Json = dict[str, Any]

LONGEST_TEXT = 2000
#: The column of conversations, whose cells are JSON objects.
CONVERSATION = "conversation"
#: What stands above columns that most data have.
_TITLES = {"text": "compare.text", "text_pair": "try.pair", "label": "data.label", CONVERSATION: "data.conversation"}


def columns_of(version: Json, role: str) -> list[str]:
    """Return the names of the columns of a role (text, target), in order."""
    return [str(column["name"]) for column in version.get("columns") or () if column.get("role") == role]


def text_of(row: Mapping[str, Any], names: Sequence[str], suffix: str = "") -> str:
    """Return the texts of a row in one line; `suffix` is `_before` for what they were."""
    texts = [text_cell(name, row.get(name + suffix)) for name in names]
    return display.raw(" ⟷ ".join(text for text in texts if text), LONGEST_TEXT)


def title_of(name: str) -> str:
    """Return what stands above a column of texts or targets."""
    return t(_TITLES[name]) if name in _TITLES else display.raw(name, 60)


def text_cell(name: str, value: Any) -> str:
    """Return the text of a column; of a conversation what was said, one turn behind the other."""
    if name != CONVERSATION or not isinstance(value, str):
        return cell_of(value)
    try:
        tree = json.loads(value)
    except ValueError:
        return value
    if not isinstance(tree, dict):
        return value
    if "messages" in tree:
        return cell_of(tree["messages"])
    said = [f"{key}: {tree[key]}" for key in ("prompt", "completion") if key in tree]
    return " ⏎ ".join(said) or str(tree.get("text", value))


def cell_of(value: Any) -> str:
    """Return a value as text: a conversation as what was said, a text as it is, nothing as nothing, else as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list) and value and all(_is_message(item) for item in value):
        return " ⏎ ".join(f"{item['role']}: {cell_of(item['content'])}" for item in value)
    return json.dumps(value, ensure_ascii=False)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and {"role", "content"} <= value.keys()
