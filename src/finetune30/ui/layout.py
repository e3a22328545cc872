"""Pieces of every page that look the same everywhere: a row of figures, a table, what is folded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.elements.lib.mutable_expander_container import ExpanderContainer

from finetune30.ui.display import NOTHING

ROW_PIXELS = 33
#: Figures beside each other; of one more, a single one would take a line of its own.
MOST_IN_LINE = 6


def fold(label: str, key: str, icon: str | None = None) -> ExpanderContainer:
    """Show a part of a page that is folded at first; what is in it is to be made only while it is `.open`.

    Streamlit sends what is folded too, and the browser draws every table and chart in it before anybody sees one.
    """
    return st.expander(label, key=key, icon=icon, on_change="rerun")


def show_figures(figures: Iterable[tuple[str, str] | tuple[str, str, str | None]]) -> None:
    """Show (label, value, help) beside each other, as many in a line as there is room for; many in even lines."""
    shown = list(figures)
    lines = -(-len(shown) // MOST_IN_LINE)
    for place in range(lines):
        with st.container(horizontal=True, gap="small"):
            for label, value, *more in shown[place * len(shown) // lines : (place + 1) * len(shown) // lines]:
                st.metric(label, value, help=more[0] if more else None, border=True, width="stretch", height="stretch")


#: By the page's background, at which either can be read (4.9 and 6.9 to 1).
_GREY = {"light": "#6b7479", "dark": "#9aa3a8"}


def show_table(
    rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]],
    *,
    alt: str,
    most_pixels: int = 400,
    formats: Mapping[str, str] | None = None,
    bold: Sequence[tuple[int, int]] = (),
    faint: Sequence[int] = (),
) -> None:
    """Show rows (or columns) as a table as high as they need, up to a limit; `alt` is what a screen reader says.

    `formats` are Streamlit's number formats by column, for numbers that stay numbers so that they sort as such. `bold`
    are the places (row, column) of cells that stand out, `faint` the rows that tell little.
    """
    frame = pd.DataFrame(rows)
    config = {name: st.column_config.NumberColumn(format=form) for name, form in (formats or {}).items()}
    height = table_pixels(len(frame), most_pixels)
    shown = _mark(frame, bold, faint) if bold or faint else frame
    st.dataframe(shown, hide_index=True, height=height, placeholder=NOTHING, alt=alt, column_config=config)


def _mark(frame: pd.DataFrame, bold: Sequence[tuple[int, int]], faint: Sequence[int]) -> Any:
    """Return a table in which cells are bold, the one mark of Streamlit's that needs no colour, and rows grey."""
    marks = pd.DataFrame("", index=frame.index, columns=frame.columns)
    if faint:
        marks.iloc[list(faint)] = f"color: {_GREY['dark' if st.context.theme.type == 'dark' else 'light']}"
    for row, column in bold:
        marks.iat[row, column] = "font-weight: bold"
    return frame.style.apply(lambda _: marks, axis=None)


def table_pixels(rows: int, most: int = 400) -> int:
    """Return the height of a table with so many rows."""
    return min(ROW_PIXELS * (rows + 1) + 3, most)
