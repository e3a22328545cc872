"""What the tables of a data set say about its classes and texts, and what is worth a word."""

from __future__ import annotations

import json
from collections.abc import Sequence

import polars as pl

from finetune30.data.columns import Columns, unread_texts
from finetune30.data.problem import Detected, Role
from finetune30.data.sources.table import SourceTable
from finetune30.data.texts import text_columns


def declared_names(tables: Sequence[SourceTable], target: str | None) -> tuple[str, ...]:
    """Return the names of classes that tables declare for their target, in the order of the first that does.

    Names that only a later table has follow.
    """
    if target is None:
        return ()
    return tuple(dict.fromkeys(name for table in tables for name in _names_of(table, target)))


def _names_of(table: SourceTable, target: str) -> tuple[str, ...]:
    return table.label_names.get(target, ()) or table.label_order.get(target, ())


def differing_classes(tables: Sequence[SourceTable], columns: Columns) -> tuple[Detected, ...]:
    """Return a word for each table that numbers its classes otherwise than the first one does."""
    target = columns.target_column
    if target is None or not tables[0].label_names.get(target):
        return ()
    first, found = tables[0], []
    for table in tables[1:]:
        names = table.label_names.get(target, ())
        if names and names != first.label_names[target]:
            because = f"it numbers its classes otherwise than {first.name} does"
            found.append(Detected(f"classes of {table.name} matched by their names", because))
    return tuple(found)


def paired_texts(table: SourceTable, columns: Columns, roles: Sequence[Role]) -> tuple[Detected, ...]:
    """Return a word for a pair of texts that was told from its columns' names, and for columns of texts left unread."""
    texts = [role for role in roles if role.kind == "text"]
    first, second = (columns.chosen.get(role.name) for role in (*texts, *texts)[:2])
    if len(texts) > 1 and second is not None and texts[1].key in columns.detected:
        because = "columns that are called so usually belong together; data.text_column alone reads one of them"
        return (Detected(f"texts read in pairs, {first!r} and {second!r}", because, f"data.{texts[1].key}"),)
    return tuple(
        Detected(f"the column {name!r} is not read", f"it holds texts as {first!r} does", f"data.{texts[1].key}")
        for name in unread_texts(table, columns, roles)
    )


def structured_texts(rows: pl.DataFrame, columns: Columns) -> tuple[Detected, ...]:
    """Return a word for each column of texts that holds objects or lists, whose JSON is then the text."""
    found = []
    for name in text_columns(rows):
        texts = rows[name].drop_nulls()
        maybe = texts.filter(texts.str.contains(r"^\s*(\{[\s\S]*\}|\[[\s\S]*\])\s*$"))
        count = sum(map(_is_structured, maybe))
        if count:
            read = f"texts of the column {columns.chosen[name]!r} read as they stand"
            because = f"{count:,} of {len(texts):,} are JSON objects or lists, not words"
            key = {"text": "data.text_column", "text_pair": "data.text_pair_column"}.get(name)
            found.append(Detected(read, because, key))
    return tuple(found)


def _is_structured(text: str) -> bool:
    try:
        return isinstance(json.loads(text), (dict, list))
    except (ValueError, RecursionError):
        return False
