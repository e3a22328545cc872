"""JSON as annotation tools and pandas write it, as plain records: Label Studio, tables by column or index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from finetune30.data.sources.json_values import Placed, Record
from finetune30.values import say_count

#: Keys of a value of Label Studio that hold the answer, by what was asked.
_ANSWERS = ("choices", "rating", "number", "text", "taxonomy")


def is_label_studio(record: Record) -> bool:
    """Say whether a record is a task as Label Studio exports it: the data, and beside it what annotators answered."""
    return isinstance(record.get("data"), dict) and isinstance(_annotations(record), list)


def flatten_label_studio(records: Sequence[Placed]) -> tuple[list[Placed], list[str]]:
    """Return one record a task: the data's keys, and one key for each question with its answer.

    One choice becomes its name, several a list. An annotation that was cancelled does not count; where annotators
    differ, there is no answer.
    """
    flat, differing, unanswered = [], 0, 0
    for record, line, column in records:
        answers, differ = _answers_of(record)
        differing += differ
        unanswered += not answers and not differ
        data = record.get("data")
        flat.append(({**(data if isinstance(data, dict) else {}), **answers}, line, column))
    notes = ["tasks of Label Studio: data, and the answers of annotators by question"]
    if differing:
        notes.append(f"annotators differ in {differing} tasks, which have no answer here")
    if unanswered:
        notes.append(f"{unanswered} tasks have no annotation")
    return flat, notes


def unpack_records(value: Any, wrappers: Sequence[str]) -> tuple[list[Any], str] | None:
    """Return the records of a JSON value that is no array, and by what it is laid out; None where none are seen.

    Known are what pandas writes (`orient` split, table, index, columns), a list a column, records by their ids, and
    records under one of the keys `wrappers` or under the only key that holds some.
    """
    if not isinstance(value, dict) or not value:
        return None
    columns, rows = value.get("columns"), value.get("data")
    if isinstance(columns, list) and isinstance(rows, list) and all(isinstance(row, list) for row in rows):
        if all(isinstance(column, str) for column in columns) and all(len(row) == len(columns) for row in rows):
            return [dict(zip(columns, row, strict=True)) for row in rows], "split"
        return None
    for key in wrappers:
        found = value.get(key)
        if isinstance(found, list) and found and all(isinstance(record, dict) for record in found):
            return found, key
    cells = list(value.values())
    if (arrays := arrays_of_records(value)) and (len(arrays) == len(cells) or not _is_column_a_key(value)):
        return (value[arrays[0]], arrays[0]) if len(arrays) == 1 else None
    if _is_column_a_key(value):
        return [dict(zip(value, row, strict=True)) for row in zip(*cells, strict=True)], "columns"
    if all(isinstance(cell, dict) for cell in cells):
        return _unpack_nested(value)
    return None


def arrays_of_records(value: Any) -> list[str]:
    """Return the keys of a JSON object under which arrays of objects stand."""
    if not isinstance(value, dict):
        return []
    return [key for key, cell in value.items() if isinstance(cell, list) and cell and _are_records(cell)]


def _are_records(cells: Sequence[Any]) -> bool:
    return all(isinstance(cell, dict) for cell in cells)


def _is_column_a_key(value: dict[str, Any]) -> bool:
    return all(isinstance(cell, list) for cell in value.values()) and len({len(c) for c in value.values()}) == 1


def _unpack_nested(value: dict[str, dict[str, Any]]) -> tuple[list[Any], str] | None:
    """Tell columns of rows from rows of columns: the level whose keys are numbers counts the rows, else the larger."""
    inner = dict.fromkeys(key for cell in value.values() for key in cell)
    by_index, by_column = all(map(str.isdecimal, value)), bool(inner) and all(map(str.isdecimal, inner))
    if not by_index and not by_column and len(value) != len(inner):
        by_index, by_column = len(value) > len(inner), len(value) < len(inner)
    if by_index and not by_column:
        return list(value.values()), "index"
    if by_column and not by_index:
        return [{column: cells.get(row) for column, cells in value.items()} for row in inner], "columns"
    return None


def without_rejected(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Take the labels of rows away whose label an annotator of Prodigy rejected or ignored; say how many.

    Such a set has a column `answer` of accept, reject and ignore beside the label.
    """
    labels = [name for name in ("label", "accept") if name in frame.columns]
    if "answer" not in frame.columns or not labels or not frame["answer"].is_in(["accept", "reject", "ignore"]).all():
        return frame, ()
    rejected = pl.col("answer") != "accept"
    count = frame.filter(rejected).height
    if not count:
        return frame, ()
    kept = [pl.when(rejected).then(None).otherwise(pl.col(name)).alias(name) for name in labels]
    return frame.with_columns(kept), (
        f"{say_count(count, 'rows')} whose answer is reject or ignore (Prodigy) have no label here",
    )


def _answers_of(record: Record) -> tuple[Record, bool]:
    found: list[Record] = []
    for annotation in _annotations(record) or ():
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            continue
        answers = {}
        for result in annotation.get("result") or ():
            value = result.get("value") if isinstance(result, dict) else None
            answer = next((value[key] for key in _ANSWERS if key in value), None) if isinstance(value, dict) else None
            if answer is not None:
                alone = isinstance(answer, list) and len(answer) == 1
                answers[str(result.get("from_name"))] = answer[0] if alone else answer
        if answers:
            found.append(answers)
    if any(answers != found[0] for answers in found):
        return {}, True
    return (found[0] if found else {}), False


def _annotations(record: Record) -> Any:
    return record.get("annotations", record.get("completions"))
