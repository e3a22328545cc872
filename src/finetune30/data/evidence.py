"""What the tables of a data set say about its classes and texts, and what is worth a word."""

from __future__ import annotations

import json
from collections.abc import Sequence

import polars as pl

from finetune30.data.columns import Columns
from finetune30.data.problem import Detected
from finetune30.data.sources.physical_lines import IN_CELL
from finetune30.data.sources.resolve import is_test_split
from finetune30.data.sources.table import SourceTable
from finetune30.data.texts import CONVERSATION, text_columns

#: Numbers of lines that are shown.
_SHOWN_LINES = 5


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


def swallowed_lines(tables: Sequence[SourceTable]) -> tuple[Detected, ...]:
    """Return a word for each file in which quotation marks make one row of several lines.

    It says how many rows there would be without quotation marks, and what to write where they are no quotes.
    """
    found = []
    for table in tables:
        lines = table.lines
        if lines is None or not lines.joined_rows:
            continue
        inside = lines.counts[IN_CELL]
        shown = ", ".join(map(str, lines.numbers[IN_CELL][:_SHOWN_LINES])) + (" …" if inside > _SHOWN_LINES else "")
        read = f"lines of {table.name} that were read as parts of quoted cells: {inside:,}"
        because = (
            f"a quotation mark opens that closes on a later line in rows: {lines.joined_rows:,} (lines {shown}); with "
            f"quotation marks as plain characters these lines would be rows: {lines.rows + inside:,} instead of "
            f"{lines.rows:,}; where they are rows, write a quotation mark of the text twice and the cell in quotes: "
            '"""like this"" …"'
        )
        found.append(Detected(read, because))
    return tuple(found)


def evaluated_on_test(eval_split: str | None) -> tuple[Detected, ...]:
    """Return a word where the evaluation rows are those of a split for tests: what they choose is chosen on it."""
    if not is_test_split(eval_split):
        return ()
    because = (
        "the best weights, when to stop and every setting chosen by these rows are chosen on the test set, so their "
        "figures are no test"
    )
    return (Detected(f"the evaluation rows are the split {eval_split!r}", because, "data.test_split"),)


def structured_texts(rows: pl.DataFrame, columns: Columns) -> tuple[Detected, ...]:
    """Return a word for each column of texts that holds objects or lists, whose JSON is then the text."""
    found = []
    for name in text_columns(rows):
        if name == CONVERSATION:
            continue
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
