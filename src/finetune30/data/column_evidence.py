"""Why a column was taken for the text, the second text or the label, and which columns were left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finetune30.config.data import DataConfig
from finetune30.data.columns import PAIR_NAMES, ROLE_WORDS, Columns, is_index, plain_name, unread_texts
from finetune30.data.problem import Detected, Role
from finetune30.data.sources.table import VERSION, SourceTable
from finetune30.data.texts import CONVERSATION

_MOST_NAMES = 10
#: Columns of a table that holds a text and its target, and nothing else.
_TEXT_AND_TARGET = 2


def explain_columns(
    table: SourceTable, columns: Columns, roles: Sequence[Role], named: Mapping[str, str | None], config: DataConfig
) -> tuple[Detected, ...]:
    """Return a word for each column that a role reads, and one for the columns that none reads.

    `named`: key below `data` -> column, as configured (see `detect_columns`, which chose `columns`).
    """
    found = [
        Detected(
            f"the {ROLE_WORDS.get(role.name, role.name)} is the column {column!r}",
            _because(table, columns, role, column, named, config),
            f"data.{_key(role, config)}" if role.key in DataConfig.model_fields else None,
        )
        for role in roles
        # How conversations were told is said where they were read.
        if (column := columns.chosen[role.name]) is not None and role.name != CONVERSATION
    ]
    read = {*columns.chosen.values(), *(config.label_columns or ())}
    roles_of_text = [role for role in roles if role.kind == "text"]
    texts = unread_texts(table, columns, roles)
    for name in texts:
        because = f"it holds texts as {columns.chosen[roles_of_text[0].name]!r} does"
        found.append(Detected(f"the column {name!r} is not read", because, f"data.{roles_of_text[1].key}"))
    rest = [name for name in table.columns if name not in (*read, *texts)]
    if rest:
        because = "no setting names them, and they are told to be neither text nor label"
        found.append(Detected(f"columns that are not read: {_listed(rest)}", because))
    return tuple(found)


def _because(
    table: SourceTable,
    columns: Columns,
    role: Role,
    column: str,
    named: Mapping[str, str | None],
    config: DataConfig,
) -> str:
    if named.get(role.key) == column:
        return f"data.{_key(role, config)} names it"
    if table.format == VERSION and column == role.name:
        return "the stored version calls it so"
    first, second = (columns.chosen.get(name) for name in ("text", "text_pair"))
    if role.kind == "text" and first is not None and second is not None and _are_a_pair(first, second):
        return f"{first!r} and {second!r} are usual names of a pair; data.text_column alone reads one of them"
    if column.lower() in role.names:
        others = [name for name in role.names if name != column.lower() and _has(table, name, columns)]
        if others:
            return f"its name is one that such columns usually have, and comes before {_listed(others)}"
        return "its name is one that such columns usually have"
    rest = [name for name in table.columns if not is_index(name)]
    if role.kind == "target" and len(rest) == _TEXT_AND_TARGET and not any(named.values()):
        return f"of the two columns {_listed(rest)}, its cells are the shorter ones"
    return "it is the only column left"


def _key(role: Role, config: DataConfig) -> str:
    """Return the key below `data` that decides the column of a role."""
    return "label_columns" if role.kind == "target" and config.label_columns else role.key


def _has(table: SourceTable, name: str, columns: Columns) -> bool:
    """Say whether a table has a column of that name which no role reads."""
    return any(column.lower() == name for column in table.columns if column not in columns.chosen.values())


def _are_a_pair(first: str, second: str) -> bool:
    return any({plain_name(first), plain_name(second)} == {*pair} for pair in PAIR_NAMES)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:60]) for name in names[:_MOST_NAMES])
    return shown + (f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else "")
