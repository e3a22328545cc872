"""From the columns of a table to one column of conversations, before columns are detected."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from finetune30.config.data import DataConfig
from finetune30.config.problem_types import AUTO
from finetune30.data.columns import require_column
from finetune30.data.conversations.conversation import dump, write_json
from finetune30.data.conversations.faults import ConversationFault
from finetune30.data.conversations.formats import COLUMNS, MESSAGES, Found, RowReader, plain
from finetune30.data.conversations.messages import BROKEN, is_turns
from finetune30.data.problem import FAULTS, Arranged, Detected, ProblemChoice
from finetune30.data.sources.json_values import without_halves
from finetune30.data.sources.table import SourceTable
from finetune30.data.texts import CONVERSATION
from finetune30.errors import DataFileError

_KEY = "data.conversation_format"
#: Tables whose cells came out of Arrow, which gives every object the keys of all others.
_OF_ARROW = ("parquet", "hub")
_LOOKED_AT = 200
#: Columns of a table that has a message a row.
_SINGLE = {"role", "content"}


def arrange_conversations(tables: Sequence[SourceTable], config: DataConfig, problem: ProblemChoice) -> Arranged:
    """Return the tables with a column `conversation` in canonical form.

    A row that cannot be read keeps its cells as they were, as JSON, and is among the `faults`. Raises DataFileError for
    a column that does not exist and a table without any conversation.
    """
    wanted = config.conversation_format
    formats = tuple(COLUMNS) if wanted == AUTO else (wanted,)
    named = tuple(name for name in (config.text_column, config.text_pair_column) if name is not None)
    for index, table in enumerate(tables):
        for key, name in (("text_column", config.text_column), ("text_pair_column", config.text_pair_column)):
            if name is not None:
                require_column(table, name, key, is_first=index == 0)
    arranged, faults, unread, literal = [], [], set[str](), Counter[str]()
    counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
    read: set[str] = set()
    for table in tables:
        reader = RowReader(formats, named, table.format in _OF_ARROW, unread, literal)
        cells, faulty, found = _read_table(table, reader)
        if not found or _holds_messages(table, formats, named):
            raise _no_conversation(table, wanted)
        counts.update(found)
        read |= {column for (_, columns) in found for column in columns}
        arranged.append(replace(table, frame=table.frame.with_columns(pl.Series(CONVERSATION, cells, dtype=pl.String))))
        faults.append(_fault_frame(table, faulty))
    detected = _describe(counts, unread, literal, is_told=wanted == AUTO and not named)
    return Arranged(tuple(arranged), problem, detected, pl.concat(faults), frozenset(read), CONVERSATION)


def find_conversations(table: SourceTable) -> str | None:
    """Return the column that plainly holds conversations: by its name, and lists of messages in its cells."""
    for name in table.columns:
        if plain(name) not in MESSAGES:
            continue
        cells = table.frame[name].head(_LOOKED_AT).drop_nulls()
        if len(cells) and sum(map(_holds_turns, cells)) * 2 > len(cells):
            return name
    return None


def _holds_messages(table: SourceTable, formats: Sequence[str], named: Sequence[str]) -> bool:
    """Say whether every row is a message of some conversation, which nobody asked to read as a text."""
    return len(formats) > 1 and not named and {*table.columns} >= _SINGLE and find_conversations(table) is None


def _holds_turns(cell: str) -> bool:
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return False
    return is_turns(value.get("messages") if isinstance(value, dict) else value)


def _read_table(
    table: SourceTable, reader: RowReader
) -> tuple[list[str], list[tuple[int, ConversationFault]], Counter[tuple[str, tuple[str, ...]]]]:
    """Return the cells, the rows that cannot be read, and how many rows have which format by which columns."""
    cells: list[str] = []
    faulty: list[tuple[int, ConversationFault]] = []
    counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for position, row in enumerate(table.frame.select(table.columns).iter_rows(named=True)):
        found = reader.find(row)
        try:
            if found is None:
                fix = "no column of this row holds a conversation or a text; fill it in, or remove the row"
                raise ConversationFault(BROKEN, fix=fix)
            told, conversation = reader.read(row, found)
            counts[told, found.columns] += 1
            cells.append(without_halves(dump(conversation)))
        except ConversationFault as fault:
            faulty.append((position, fault))
            if found is not None:
                counts[found.format, found.columns] += 0
            cells.append(_as_read(row, found))
    return cells, faulty, counts


def _as_read(row: dict[str, str | None], found: Found | None) -> str:
    """Return the cells of a row that cannot be read: the one there is, or all of them as JSON."""
    names = [name for name in (row if found is None else found.columns) if row[name] is not None]
    if len(names) == 1:
        return str(row[names[0]])
    return write_json({name: row[name] for name in names})


def _fault_frame(table: SourceTable, faulty: Sequence[tuple[int, ConversationFault]]) -> pl.DataFrame:
    ids = table.row_ids()
    rows = [(ids[position], fault.rule, without_halves(fault.fix)) for position, fault in faulty]
    return pl.DataFrame(rows, schema=FAULTS, orient="row")


def _describe(
    counts: Counter[tuple[str, tuple[str, ...]]], unread: set[str], literal: Counter[str], *, is_told: bool
) -> tuple[Detected, ...]:
    found = []
    # Some rows have columns beside the main ones that others lack.
    totals: Counter[str] = Counter()
    columns_of: dict[str, dict[str, None]] = {}
    for (told, columns), count in counts.items():
        totals[told] += count
        columns_of.setdefault(told, {}).update(dict.fromkeys(columns) if count else {})
    for told, count in totals.most_common():
        if is_told and count:
            listed = ", ".join(map(repr, columns_of[told]))
            found.append(Detected(f"rows read as {told}: {count:,}", f"they have something in {listed}", _KEY))
    if unread:
        listed = ", ".join(repr(key[:40]) for key in sorted(unread)[:10])
        found.append(Detected(f"keys of messages that are not read: {listed}", "a turn has no place for them"))
    if literal:
        listed = ", ".join(map(repr, literal))
        shown = f"cells that are JSON objects or lists: {literal.total():,}, in {listed}"
        found.append(Detected(shown, "they are read as they stand, brackets and keys too"))
    return tuple(found)


def _no_conversation(table: SourceTable, wanted: str) -> DataFileError:
    listed = ", ".join(map(repr, table.columns[:20]))
    if {*table.columns} >= _SINGLE:
        found = f"every row is a single message; the columns are {listed}"
        return DataFileError(
            table.name, 1, 0, found, "write a conversation a row: a list of messages in a column 'messages'"
        )
    found = f"no column holds a conversation or a text; the columns are {listed}"
    remedy = "set data.text_column to the column of the questions and data.text_pair_column to that of the answers"
    if wanted != AUTO:
        found = f"no row has the columns of data.conversation_format {wanted}; the columns are {listed}"
        remedy = f"set data.conversation_format to {AUTO}, or rename the columns"
    return DataFileError(table.name, 1, 0, found, remedy)
