"""Blocks of a result as Markdown, in English, for the card of a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from finetune30.blocks import Block, Curve, Figure, Matrix, Table, Text, Words, format_value

#: Rows of a table, names of a matrix: a card is read, not searched.
_MOST_ROWS = 30
_MOST_NAMES = 20
#: What Markdown or HTML would take for more than text, in a cell of a table.
_SIGNS = re.compile(r"([\\`*_{}\[\]<>#|~$!&])")


def draw_blocks(blocks: Iterable[Block]) -> str:
    """Return blocks as Markdown, below each other; figures that follow each other share a table."""
    parts: list[str] = []
    for is_figure, found in groupby(blocks, key=lambda block: isinstance(block, Figure)):
        group = list(found)
        parts.extend([_figures(group)] if is_figure else map(_draw, group))
    return "\n\n".join(part for part in parts if part)


def _figures(figures: Sequence[Block]) -> str:
    rows = []
    for figure in figures:
        assert isinstance(figure, Figure)  # noqa: S101 - grouped by this
        form = figure.format
        interval = " to ".join(format_value(end, form) for end in figure.interval or ())
        rows.append((
            figure.title.en,
            format_value(figure.value, form),
            interval,
            format_value(figure.rows, "count"),
            f"{format_value(figure.baseline[1], form)} ({figure.baseline[0].en})" if figure.baseline else "",
        ))  # fmt: skip
    headings = ("", "Value", "95 % interval", "Rows", "Without learning")
    used = [place for place in range(len(headings)) if place < 2 or any(row[place] for row in rows)]
    return _table([headings[place] for place in used], [[row[place] for place in used] for row in rows])


def _draw(block: Block) -> str:
    if isinstance(block, Table):
        rows = [
            [_cell(value, column.format) for value, column in zip(row, block.columns, strict=True)]
            for row in block.rows[:_MOST_ROWS]
        ]
        told = _titled(block.title, _table([column.title.en for column in block.columns], rows), len(block.rows))
        return told if block.note is None else f"{told}\n\n{_escape(block.note.en)}"
    if isinstance(block, Matrix):
        return _matrix(block)
    if isinstance(block, Curve):
        points = [
            [name, format_value(x, "number"), format_value(y, "number")]
            for name, line in block.lines.items()
            for x, y in line
        ]
        several = len(block.lines) > 1
        headings = ["", block.x_title.en, block.y_title.en] if several else [block.x_title.en, block.y_title.en]
        shown = [point if several else point[1:] for point in points[:_MOST_ROWS]]
        return _titled(block.title, _table(headings, shown), len(points))
    assert isinstance(block, Text)  # noqa: S101 - the last kind
    quoted = "\n".join(f"> {_escape(line)}" for line in block.text.en.splitlines())
    return _titled(block.title, quoted)


def _matrix(block: Matrix) -> str:
    if max(len(block.row_names), len(block.column_names)) > _MOST_NAMES:
        return ""
    headings = [f"{block.row_title.en} ↓ {block.column_title.en} →", *block.column_names]
    rows = [
        [name, *(format_value(count, "count") for count in counts)]
        for name, counts in zip(block.row_names, block.values, strict=True)
    ]
    return _titled(block.title, _table(headings, rows))


def _titled(title: Words, body: str, rows: int = 0) -> str:
    more = f"\n\n… {rows - _MOST_ROWS:,} more rows." if rows > _MOST_ROWS else ""
    return f"### {_escape(title.en)}\n\n{body}{more}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, *rows]
    written = [f"| {' | '.join(_escape(cell) for cell in line)} |" for line in lines]
    return "\n".join([written[0], "|---" * len(headings) + "|", *written[1:]])


def _cell(value: Any, form: str) -> str:
    return value.en if isinstance(value, Words) else format_value(value, form)


def _escape(text: str) -> str:
    """Text of data must not become Markdown, HTML or another cell."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return _SIGNS.sub(r"\\\1", " ".join(printable.split()))
