"""Pieces of a result that every face can draw without knowing what was learnt: figure, table, matrix, curve, text.

A problem makes them from a run's metrics (`Problem.view`); the API sends them as JSON (`as_tree`); command line, page
and model card draw them. Words come in every language of the product, from whoever makes the block.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

#: How a number is written: 0.8312 as 83.12 %, as a plain number, or as a count.
Format = Literal["percent", "number", "count", "text"]
#: What the rows route is asked for to list the evaluation rows behind a cell: column of predictions -> value.
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
    learning (the most frequent class, the mean).
    """

    title: Words
    value: float | None
    format: Format
    interval: tuple[float, float] | None = None
    rows: int | None = None
    baseline: tuple[Words, float] | None = None
    kind: Literal["figure"] = "figure"


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: Words
    format: Format


@dataclass(frozen=True)
class Table:
    """Rows of cells; `filters[i]` lists the evaluation rows behind row i, where there is such a list."""

    title: Words
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    filters: tuple[RowFilter | None, ...] = ()
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Matrix:
    """Counts by two properties; `filters[i][j]` lists the evaluation rows behind a cell."""

    title: Words
    row_title: Words
    column_title: Words
    row_names: tuple[str, ...]
    column_names: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    filters: tuple[tuple[RowFilter | None, ...], ...] = ()
    kind: Literal["matrix"] = "matrix"


@dataclass(frozen=True)
class Curve:
    """Lines (or bars, one a point) over a common axis: name of a line -> its (x, y) points."""

    title: Words
    x_title: Words
    y_title: Words
    lines: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    as_bars: bool = False
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
