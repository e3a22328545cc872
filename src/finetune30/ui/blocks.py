"""Blocks of a result as the API sends them: drawn one after the other, with the evaluation rows behind each piece."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import streamlit as st

from finetune30.ui import charts, display
from finetune30.ui.findings import yes_or_no
from finetune30.ui.layout import show_figures, show_table
from finetune30.ui.matrix import show_matrix
from finetune30.ui.session import ask, client, language, t, t_or

Json = dict[str, Any]
OnPress = Callable[[Json], None]

PAGE_ROWS = 50
LONGEST_TEXT = 400
#: Columns of a row that stand first, and those that stand last.
_FIRST, _LAST = ("text", "text_pair", "label", "prediction"), ("row_id",)
#: What a row is found by, which says nothing to who reads it, or what other columns say already.
_UNSAID = ("index", "stored", "file", "error", "length", "script")
_WRITTEN = {
    "percent": display.percent,
    "number": display.number,
    "count": display.number,
    "seconds": lambda value: display.duration(value, t),
    "bytes": display.size,
}
#: Formats whose cells stay numbers in a table, to be sorted: what they are multiplied by, how Streamlit writes them.
_SORTED = {"percent": (100, "%.1f %%"), "count": (1, "localized")}


def show_blocks(blocks: Sequence[Json], run_id: str, on_press: OnPress | None = None) -> None:
    """Draw blocks, and behind the last one that tells which rows it counts the choice that lists them.

    A press on a cell or bar calls `on_press` with its filter.
    """
    numbered = list(enumerate(blocks))
    last = max((number for number, block in numbered if any(_pieces(block))), default=-1)
    _draw(numbered[: last + 1], on_press)
    _show_rows_behind(blocks, run_id)
    _draw(numbered[last + 1 :], on_press)


def _draw(blocks: Sequence[tuple[int, Json]], on_press: OnPress | None) -> None:
    """Figures that follow each other stand in a line, other pieces two beside each other."""
    for is_figure, found in groupby(blocks, key=lambda numbered: numbered[1]["kind"] == "figure"):
        group = list(found)
        if is_figure:
            _show_figures([block for _, block in group])
            continue
        for start in range(0, len(group), 2):
            places = st.columns(2) if len(group) > 1 else [st.container()]
            for place, (number, block) in zip(places, group[start : start + 2], strict=False):
                with place:
                    show_piece(block, f"block-{number}", on_press)


def _show_figures(figures: Sequence[Json]) -> None:
    """Figures in a line; beneath it what is needed to judge them."""
    show_figures((display.plain(say(figure["title"])), _write(figure["value"], figure["format"])) for figure in figures)
    for figure in figures:
        if judged := list(_judge(figure)):
            st.caption(t("block.judged", title=display.plain(say(figure["title"])), judged=" · ".join(judged)))


def _judge(figure: Json) -> Iterator[str]:
    form = figure["format"]
    if interval := figure.get("interval"):
        low, high = (_write(end, form) for end in interval)
        yield t("block.interval", low=low, high=high)
    if figure.get("rows") is not None:
        yield t("block.rows", rows=display.number(figure["rows"]))
    if baseline := figure.get("baseline"):
        words, value = baseline
        yield t("block.baseline", words=display.plain(say(words)), value=_write(value, form))


def show_piece(block: Json, key: str, on_press: OnPress | None = None) -> None:
    """Draw a block that is no figure; a press on a cell or bar calls `on_press` with its filter."""
    title = display.raw(say(block["title"]), 200)
    st.markdown(f"**{display.plain(title)}**")
    match block["kind"]:
        case "table":
            _show_table(block, title)
        case "matrix":
            words = {"title": title, "x": say(block["column_title"]), "y": say(block["row_title"])}
            words["count"] = t("chart.rows")
            show_matrix(block, words, key, _on_cell(block, on_press))
        case "curve":
            words = {"title": title, "x": say(block["x_title"]), "y": say(block["y_title"])}
            press = _on_bar(block, on_press)
            charts.lines(block["lines"], words, key, as_bars=block["as_bars"], on_press=press)
        case "text":
            st.text(display.raw(say(block["text"]), 20_000))
        case unknown:  # of a later API
            st.caption(t("block.unknown", kind=display.plain(unknown)))


def _on_cell(block: Json, on_press: OnPress | None) -> Callable[[str, str], None] | None:
    row, column = block.get("row_key"), block.get("column_key")
    if on_press is None or not row or not column:
        return None
    return lambda name, other: on_press({row: name, column: other})


def _on_bar(block: Json, on_press: OnPress | None) -> OnPress | None:
    """Return what takes a press on a bar: the x of a bar names its filter."""
    if on_press is None or not block.get("filters"):
        return None

    def press(pressed: Json) -> None:
        for line, filters in block["filters"].items():
            for (x, _), wanted in zip(block["lines"].get(line, ()), filters, strict=False):
                if wanted is not None and math.isclose(x, pressed["x"], abs_tol=1e-12):
                    on_press(wanted)

    return press


def _show_table(block: Json, title: str) -> None:
    columns: dict[str, list[Any]] = {}
    formats: dict[str, str] = {}
    for place, column in enumerate(block["columns"]):
        name, form = display.raw(say(column["title"])), column["format"]
        cells = [row[place] for row in block["rows"]]
        if form in _SORTED and not any(isinstance(cell, str | dict) for cell in cells):
            scale, formats[name] = _SORTED[form]
            columns[name] = [None if cell is None else scale * cell for cell in cells]
        else:
            columns[name] = [_write(cell, form) for cell in cells]
    show_table(columns, alt=title, formats=formats, faint=block.get("faint") or ())
    if block.get("note"):
        st.caption(display.plain(say(block["note"]), 300))


def _show_rows_behind(blocks: Sequence[Json], run_id: str) -> None:
    """A choice of every piece that tells which rows it counts, and these rows."""
    pieces: dict[str, tuple[str, Json]] = {}
    for block in blocks:
        for name, wanted in _pieces(block):
            pieces.setdefault(json.dumps(wanted, sort_keys=True), (name, wanted))
    if not pieces:
        return
    chosen = st.selectbox(
        t("block.behind"),
        list(pieces),
        index=None,
        format_func=lambda key: pieces[key][0] if key in pieces else key,
        placeholder=t("block.choose"),
        key=f"behind-{run_id}",
    )
    if chosen in pieces:
        _show_rows(run_id, pieces[chosen][1], f"behind-{run_id}-{chosen}")


def _pieces(block: Json) -> Iterator[tuple[str, Json]]:
    """Yield what can be chosen of a block, in words with the number of rows, and the filter that lists them."""
    title = say(block["title"])
    match block["kind"]:
        case "figure" if block.get("filter"):
            words, wanted = block["filter"]
            yield _name(title, say(words)), wanted
        case "table":
            forms = [column["format"] for column in block["columns"]]
            for row, wanted in zip(block["rows"], block.get("filters") or (), strict=False):
                texts = [_write(cell, form) for cell, form in zip(row, forms, strict=True) if form == "text"]
                counts = [cell for cell, form in zip(row, forms, strict=True) if form == "count"]
                if wanted is not None:
                    yield _name(title, " → ".join(texts), *counts[:1]), wanted
        case "matrix" if block.get("row_key") and block.get("column_key"):
            for name, counts in zip(block["row_names"], block["values"], strict=True):
                for other, count in zip(block["column_names"], counts, strict=True):
                    if count:
                        wanted = {block["row_key"]: name, block["column_key"]: other}
                        yield _name(title, f"{name} → {other}", count), wanted
        case "curve":
            for line, filters in (block.get("filters") or {}).items():
                for (x, y), wanted in zip(block["lines"].get(line, ()), filters, strict=False):
                    if wanted is not None and y:
                        yield _name(say(block["x_title"]), display.number(x), y), wanted


def _show_rows(run_id: str, wanted: Json, key: str) -> None:
    place = st.container()
    page = int(st.session_state.get(key) or 1)
    found = ask(lambda: client().load_evaluation_rows(run_id, wanted, (page - 1) * PAGE_ROWS, PAGE_ROWS))
    if found is None:
        return
    rows, total = found["rows"], int(found["total"])
    pages = -(-total // PAGE_ROWS)
    if pages > 1:
        with place:
            st.pagination(pages, key=key)
    st.caption(t("data.shown_rows", shown=display.number(len(rows)), total=display.number(total)))
    if not rows:
        return
    held = [name for name in rows[0] if name not in _UNSAID and any(row.get(name) is not None for row in rows)]
    names = [name for name in _FIRST if name in held]
    names += [name for name in held if name not in (*_FIRST, *_LAST)] + [name for name in _LAST if name in held]
    show_table(
        {head_of(name, rows): [write_cell(row.get(name)) for row in rows] for name in names}, alt=t("block.behind")
    )


def head_of(name: str, rows: Sequence[Json]) -> str:
    """Return what a column of rows is called; an outcome says whether a row is right, or by how much it is not."""
    if isinstance(rows[0].get(name), bool):
        name = f"is_{name}"
    return t_or(f"row.{name}", display.raw(name))


def _name(*parts: Any) -> str:
    first, *more = (part for part in parts[:2] if part)
    count = f" ({display.number(parts[2])})" if len(parts) > 2 else ""
    return display.raw(f"{first}: {' '.join(more)}{count}" if more else f"{first}{count}", 120)


def _write(value: Any, form: str) -> str:
    """Return a cell or figure as its format wants it; text stays text, words come in the visitor's language."""
    if isinstance(value, dict):
        return display.raw(say(value))
    if isinstance(value, str):
        return display.raw(value)
    return _WRITTEN.get(form, write_cell)(value)


def write_cell(value: Any) -> str:
    """Return a value of a row, whatever it is."""
    if value is None or isinstance(value, bool):
        return yes_or_no(value)
    if isinstance(value, list):
        return ", ".join(write_cell(part) for part in value)
    return display.number(value, 3) if isinstance(value, int | float) else display.raw(value, LONGEST_TEXT)


def say(words: Json) -> str:
    """Return words of the API in the visitor's language."""
    return str(words.get(language()) or words["en"])
