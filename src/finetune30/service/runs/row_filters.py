"""Which evaluation rows a filter keeps (`finetune30.blocks.RowFilter`), which hold a text, and their order."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from finetune30.errors import DataError
from finetune30.service.runs.evaluation_frames import text_columns
from finetune30.values import is_number, is_text

if TYPE_CHECKING:
    import polars as pl

_REMEDY = "see GET /experiments/{id}/rows in docs/api.md"


def filter_rows(frame: pl.DataFrame, wanted: Mapping[str, Any], text: str = "") -> pl.DataFrame:
    """Return the rows that fit all of a filter, and of which a text contains `text` in any case.

    Raises DataError for a filter that does not fit the columns.
    """
    for column, value in wanted.items():
        frame = frame.filter(_condition(frame, column, value))
    return _containing(frame, text) if text else frame


def sort_rows(frame: pl.DataFrame, sort_by: str | None, *, descending: bool) -> pl.DataFrame:
    """Return the rows in the order of a column, equal ones as they were evaluated; those without a value come last.

    Raises DataError for a column that has no order.
    """
    if sort_by is None:
        return frame.reverse() if descending else frame
    if sort_by not in (allowed := sortable(frame)):
        raise DataError(f"rows cannot be sorted by {sort_by[:80]!r}; allowed: {', '.join(allowed)}", _REMEDY)
    return frame.sort(sort_by, descending=descending, nulls_last=True, maintain_order=True)


def filterable(frame: pl.DataFrame) -> list[str]:
    """Return the columns that a filter may name."""
    import polars as pl

    texts = (pl.String, pl.List(pl.String), pl.Boolean)
    return [name for name, kind in _own(frame).items() if kind in texts or kind.is_numeric()]


def sortable(frame: pl.DataFrame) -> list[str]:
    """Return the columns by which rows may be sorted."""
    import polars as pl

    return [name for name, kind in _own(frame).items() if kind in (pl.String, pl.Boolean) or kind.is_numeric()]


def _own(frame: pl.DataFrame) -> dict[str, pl.DataType]:
    return {name: kind for name, kind in frame.schema.items() if not name.startswith("_")}


def _containing(frame: pl.DataFrame, text: str) -> pl.DataFrame:
    import polars as pl

    texts = [pl.col(name) for name in text_columns(frame) if frame.schema[name] == pl.String]
    if not texts:
        raise DataError(
            "the texts of these rows are not stored any more, so none can be looked for", "filter by other columns"
        )
    wanted = text.lower()
    return frame.filter(pl.any_horizontal(one.str.to_lowercase().str.contains(wanted, literal=True) for one in texts))


def _condition(frame: pl.DataFrame, column: str, value: Any) -> pl.Expr:
    """Return the condition that a column and a value of a filter stand for."""
    import polars as pl

    allowed = filterable(frame)
    if column not in allowed:
        known = ", ".join(allowed)
        raise DataError(f"there is no column {column[:80]!r} to filter by; allowed: {known}", _REMEDY)
    if isinstance(value, Mapping):
        if value.keys() != {"not"} or isinstance(value["not"], Mapping):
            raise _refuse(column, value, 'an object has the one key "not"')
        return _condition(frame, column, value["not"]).not_()
    kind, cell = frame.schema[column], pl.col(column)
    if kind == pl.Boolean:
        if not isinstance(value, bool):
            raise _refuse(column, value, "true or false")
        return cell == value
    if kind.is_numeric():
        return _numeric_condition(column, value)
    if kind == pl.String:
        if not is_text(value):
            raise _refuse(column, value, "a text")
        return cell == pl.lit(value)
    if is_text(value):
        return cell.list.contains(value)
    if isinstance(value, list) and all(is_text(part) for part in value):
        return cell.list.sort() == pl.lit(sorted(value), dtype=pl.List(pl.String))
    raise _refuse(column, value, "a text, or a list of texts")


def _numeric_condition(column: str, value: Any) -> pl.Expr:
    """A number, or [from, below] where null is without end."""
    import polars as pl

    cell = pl.col(column)
    if _is_finite(value):
        return cell == float(value)
    if not isinstance(value, list) or len(value) != 2 or not all(end is None or _is_finite(end) for end in value):
        raise _refuse(column, value, "a number, or [from, below] with null for no end")
    low, high = (None if end is None else float(end) for end in value)
    fits = cell.is_not_null()
    if low is not None:
        fits &= cell >= low
    if high is not None:
        fits &= cell < high
    return fits


def _is_finite(value: Any) -> bool:
    return is_number(value) and abs(value) <= sys.float_info.max


def _refuse(column: str, value: Any, allowed: str) -> DataError:
    return DataError(f"column {column!r} cannot be {ascii(value)[:80]}; allowed: {allowed}", _REMEDY)
