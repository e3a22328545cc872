"""Pieces of a result that every face can draw without knowing what was learnt: figure, table, matrix, curve, text.

A problem makes them from a run's metrics (`Problem.view`); the API sends them as JSON (`as_tree`); command line, page
and model card draw them. Words come in every language of the product, from whoever makes the block.

A piece may carry a filter: what the rows route (`GET /experiments/{id}/rows`) is asked for to list the evaluation rows
behind it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

#: How a value is written: 0.8312 as 83.12 %, as a plain number, whole with its thousands apart, as a time or as memory.
Format = Literal["percent", "number", "count", "text", "seconds", "bytes"]
#: Column of the evaluation rows -> the value it has, [from, below] for numbers (null: without end), or {"not": value}.
#: A value of a column of lists is one that the list holds; a list of values is the whole list.
RowFilter = dict[str, Any]


@dataclass(frozen=True)
class Words:
    """One text in the languages of the product."""

    en: str
    zh: str


@dataclass(frozen=True)
class Figure:
    """One number with what it needs to be judged.

    `interval` is its 95 % interval, `rows` how many rows it was measured on, `baseline` what one gets without
    learning (the most frequent class, the mean). `filter` lists rows that explain it, under the name of these rows.
    """

    title: Words
    value: float | None
    format: Format
    interval: tuple[float, float] | None = None
    rows: int | None = None
    baseline: tuple[Words, float] | None = None
    filter: tuple[Words, RowFilter] | None = None
    kind: Literal["figure"] = "figure"


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: Words
    format: Format


@dataclass(frozen=True)
class Table:
    """Rows of cells; `filters[i]` lists the evaluation rows behind row i, where there is such a list.

    `is_sample`: a few of what the model gives, worth a look as soon as it is trained. `faint`: places of rows that tell
    little, `note` says why.
    """

    title: Words
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    filters: tuple[RowFilter | None, ...] = ()
    is_sample: bool = False
    faint: tuple[int, ...] = ()
    note: Words | None = None
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Matrix:
    """Counts by two properties.

    Where these are columns of the evaluation rows, `row_key` and `column_key` name them: the filter of a cell is
    {row_key: its row's name, column_key: its column's name}.
    """

    title: Words
    row_title: Words
    column_title: Words
    row_names: tuple[str, ...]
    column_names: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    row_key: str | None = None
    column_key: str | None = None
    kind: Literal["matrix"] = "matrix"


@dataclass(frozen=True)
class Curve:
    """Lines (or bars, one a point) over a common axis: name of a line -> its (x, y) points.

    A bar stands at the middle of what it counts. `filters` are by line, one a point.
    """

    title: Words
    x_title: Words
    y_title: Words
    lines: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    as_bars: bool = False
    filters: dict[str, tuple[RowFilter | None, ...]] = field(default_factory=dict)
    kind: Literal["curve"] = "curve"


@dataclass(frozen=True)
class Text:
    """A sentence or a longer text, such as an example of what a model wrote."""

    title: Words
    text: Words
    kind: Literal["text"] = "text"


Block = Figure | Table | Matrix | Curve | Text


def as_tree(block: Block) -> dict[str, Any]:
    """Return a block as a JSON tree; `kind` tells which."""
    return asdict(block)


def format_value(value: Any, form: str) -> str:
    """Return a value as English text writes it, with its unit; nothing for None. Text comes back as it is."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if form == "percent":
        return f"{100 * value:.2f} %"
    if form == "count":
        return f"{value:,.0f}"
    if form == "seconds":
        minutes, rest = divmod(round(value), 60)
        return f"{value:.1f} s" if value < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
    if form == "bytes":
        return f"{value / 2**20:,.0f} MiB"
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
