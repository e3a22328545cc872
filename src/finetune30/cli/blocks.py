"""Blocks of a result (trees of `finetune30.blocks`) on a terminal; what they say comes from whoever made them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from finetune30.blocks import format_value
from finetune30.cli.terminal_text import show_controls
from finetune30.values import say_count

Tree = Mapping[str, Any]

#: Rows and points drawn; --json has all of them.
_MOST_ROWS = 30
#: Columns of a matrix that stay legible beside each other.
_MOST_COLUMNS = 12
_BAR_WIDTH = 40
_LEVELS = "▁▂▃▄▅▆▇█"


def print_blocks(console: Console, blocks: Iterable[Tree]) -> None:
    """Draw blocks one below the other; figures that follow each other share a table."""
    for is_figure, found in groupby(blocks, key=lambda block: block["kind"] == "figure"):
        group = list(found)
        if is_figure:
            _print_figures(console, group)
            continue
        for block in group:
            _DRAWN[block["kind"]](console, block)


def describe_figure(figure: Tree) -> tuple[str, str, list[str]]:
    """Return words, value, and what is needed to judge it: interval, rows, what one gets without learning."""
    form = figure["format"]
    judged: list[str] = []
    if interval := figure.get("interval"):
        low, high = (format_value(end, form) for end in interval)
        judged.append(f"95 % interval {low} to {high}")
    if figure.get("rows") is not None:
        judged.append(f"{say_count(figure['rows'], 'rows', ',')}")
    if baseline := figure.get("baseline"):
        judged.append(f"{_words(baseline[0])}: {format_value(baseline[1], form)}")
    return _words(figure["title"]), format_value(figure["value"], form), judged


def _print_figures(console: Console, figures: Sequence[Tree]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for figure in figures:
        words, value, judged = describe_figure(figure)
        table.add_row(Text(words), Text(value), Text("; ".join(judged), style="dim"))
    console.print()
    console.print(table)


def _print_table(console: Console, block: Tree) -> None:
    _print_title(console, block)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in block["columns"]:
        is_text = column["format"] == "text"
        heading = Text(_words(column["title"]))
        table.add_column(heading, justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text)
    forms = [column["format"] for column in block["columns"]]
    for place, row in enumerate(block["rows"][:_MOST_ROWS]):
        style = "dim" if place in (block.get("faint") or ()) else ""
        table.add_row(*(Text(_cell(value, form)) for value, form in zip(row, forms, strict=True)), style=style)
    console.print(table)
    if block.get("note"):
        console.print(Text(_words(block["note"]), style="dim"))
    _tell_rest(console, len(block["rows"]))


def _print_matrix(console: Console, block: Tree) -> None:
    _print_title(console, block)
    names = block["column_names"]
    if len(names) > _MOST_COLUMNS or len(block["row_names"]) > _MOST_ROWS:
        size = f"{len(block['row_names'])} rows and {len(names)} columns"
        console.print(Text(f"{size} are too many for a terminal: the page draws them, --json has them", style="dim"))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    corner = f"{_words(block['row_title'])} ↓  {_words(block['column_title'])} →"
    table.add_column(Text(corner), overflow="fold", style="dim")
    for name in names:
        table.add_column(Text(show_controls(name)), justify="right", overflow="fold")
    for place, (name, counts) in enumerate(zip(block["row_names"], block["values"], strict=True)):
        cells = (Text(f"{count:,}", style="bold" if place == at else "") for at, count in enumerate(counts))
        table.add_row(Text(show_controls(name)), *cells)
    console.print(table)


def _print_curve(console: Console, block: Tree) -> None:
    """Bars lie below each other; a line is drawn in one row of blocks, with its first and last value."""
    _print_title(console, block)
    table = Table(box=None, header_style="bold", pad_edge=False)
    if block["as_bars"]:
        table.add_column(Text(_words(block["x_title"])), justify="right", no_wrap=True)
        table.add_column(Text(_words(block["y_title"])), justify="right", no_wrap=True)
        table.add_column("")
        points = [point for line in block["lines"].values() for point in line]
        most = max((y for _, y in points), default=0) or 1
        for x, y in points[:_MOST_ROWS]:
            table.add_row(format_value(x, "number"), format_value(y, "number"), "█" * round(_BAR_WIDTH * y / most))
        console.print(table)
        _tell_rest(console, len(points))
        return
    for heading in ("", _words(block["y_title"]), "first", "last"):
        table.add_column(Text(heading), overflow="fold")
    for name, line in block["lines"].items():
        heights = [y for _, y in line]
        ends = (format_value(heights[place], "number") for place in (0, -1)) if heights else ("", "")
        table.add_row(Text(show_controls(name)), _spark(heights), *ends)
    console.print(table)


def _print_text(console: Console, block: Tree) -> None:
    _print_title(console, block)
    console.print(Text(show_controls(str(block["text"]["en"]), "\n\t")), soft_wrap=True)


def _spark(heights: Sequence[float]) -> str:
    """Return a line of at most 40 characters, higher where values are higher."""
    if not heights:
        return ""
    shown = heights[:: -(-len(heights) // _BAR_WIDTH)]
    low, span = min(shown), max(shown) - min(shown)
    return "".join(_LEVELS[round((len(_LEVELS) - 1) * (y - low) / span) if span else 0] for y in shown)


def _print_title(console: Console, block: Tree) -> None:
    console.print()
    console.print(Text(_words(block["title"]), style="bold"))


def _tell_rest(console: Console, rows: int) -> None:
    if rows > _MOST_ROWS:
        console.print(Text(f"… {rows - _MOST_ROWS:,} more: --json has them", style="dim"))


def _cell(value: Any, form: str) -> str:
    return _words(value) if isinstance(value, Mapping) else show_controls(format_value(value, form))


def _words(words: Tree) -> str:
    return show_controls(str(words["en"]))


_DRAWN = {"table": _print_table, "matrix": _print_matrix, "curve": _print_curve, "text": _print_text}
