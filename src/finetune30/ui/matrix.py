"""Counts by two properties, such as a confusion matrix: of the same size however many names there are.

Of many names those are shown that stand most often in wrong cells; a switch shows all of them, without their names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from finetune30.ui import charts, display
from finetune30.ui.session import t

Json = dict[str, Any]

#: Names that can be read beside a matrix, and shown at first.
FEW_NAMES = 15
#: Longest side of the matrix, in pixels.
_SIDE = 460
_CELL = 54
#: A shade on which writing is white; on all others black has a contrast of more than 4.5, on a dark page white.
_STRONG = 0.9


def show_matrix(block: Json, words: charts.Words, key: str, on_press: Callable[[str, str], None] | None = None) -> None:
    """Draw a matrix block; `words` name title, x, y and what is counted.

    A press on a cell calls `on_press` with the names of its row and its column, before the page is drawn again.
    """
    rows, columns, values = block["row_names"], block["column_names"], block["values"]
    is_square = list(rows) == list(columns)
    places = most_confused(values) if is_square else list(range(max(len(rows), len(columns))))
    everything = len(places) <= FEW_NAMES or st.toggle(t("matrix.everything", count=len(places)), key=f"{key}-all")
    if not everything:
        places = places[:FEW_NAMES]
        st.caption(t("matrix.most_confused", shown=len(places), count=len(rows)))
    elif len(places) <= FEW_NAMES:
        places = sorted(places)  # few names stand in the order that the problem gives them
    down = [place for place in places if place < len(rows)]
    across = [place for place in places if place < len(columns)]
    names = (_distinct([rows[place] for place in down]), _distinct([columns[place] for place in across]))
    cells: list[Json] = [
        {"down": names[0][row], "across": names[1][column], "count": values[i][j], "is_right": i == j or not is_square}
        for row, i in enumerate(down)
        for column, j in enumerate(across)
    ]

    def press(pressed: Json) -> None:
        if on_press is not None:
            row, column = names[0].index(pressed["down"]), names[1].index(pressed["across"])
            on_press(rows[down[row]], columns[across[column]])

    shaded, chart = _shade(cells), _draw(names, words)
    charts.show_pressable(chart, shaded, key, words["title"], ["down", "across"], press if on_press else None)


def most_confused(values: Sequence[Sequence[int]]) -> list[int]:
    """Return the places of a square matrix, those first that have most counts beside the diagonal."""
    size = range(len(values))
    wrong = [sum(values[i]) + sum(row[i] for row in values) - 2 * values[i][i] for i in size]
    return sorted(size, key=lambda place: (-wrong[place], place))


def _draw(names: tuple[list[str], list[str]], words: charts.Words) -> Json:
    """Return the specification: cells by their shade, and where they have names the counts on them."""
    down, across = names
    are_named = max(len(down), len(across)) <= FEW_NAMES
    look: Json = {"labels": are_named, "ticks": False, "domain": False, "labelLimit": 140, "labelOverlap": False}
    tilted = len(across) >= 6 or max(map(len, across), default=0) > 14
    below = {**look, "labelAngle": -45 if tilted else 0}
    encoding = {
        "x": {"field": "across", "type": "nominal", "title": words["x"], "sort": across, "axis": below},
        "y": {"field": "down", "type": "nominal", "title": words["y"], "sort": down, "axis": look},
        "tooltip": [
            {"field": "down", "type": "nominal", "title": words["y"]},
            {"field": "across", "type": "nominal", "title": words["x"]},
            {"field": "count", "type": "quantitative", "title": words["count"], "format": ",d"},
        ],
    }
    height = min(_SIDE, max(200, _CELL * len(down))) if are_named else _SIDE
    layers = [_draw_cells(), *(_draw_counts() if are_named else ())]
    return {"data": {"name": charts.ROWS}, "height": height, "encoding": encoding, "layer": layers}


def _draw_cells() -> Json:
    right, wrong = charts.DIVERGING
    empty = "#1f282d" if charts.is_dark() else "#eef3f6"
    scale = {"domain": [-1, 0, 1], "range": [wrong, empty, right], "interpolate": "rgb"}
    color = {"field": "shade", "type": "quantitative", "legend": None, "scale": scale}
    said = {"field": "said", "type": "nominal"}  # what a screen reader says of a cell
    mark = {"type": "rect", "cursor": "pointer"}
    return {"name": "cells", "mark": mark, "encoding": {"color": color, "description": said}}


def _draw_counts() -> list[Json]:
    text = {"field": "count", "type": "quantitative", "format": ",d"}
    look = {"type": "text", "cursor": "pointer", "aria": False}
    return [
        {
            "transform": [{"filter": f"datum.count > 0 && datum.shade {sign} {_STRONG}"}],
            "mark": {**look, "color": color},
            "encoding": {"text": text},
        }
        for sign, color in ((">", "white"), ("<=", "white" if charts.is_dark() else "black"))
    ]


def _shade(cells: Sequence[Json]) -> list[Json]:
    """Give cells a shade: the root of their share of the row, so that few are seen beside many; below 0 where wrong."""
    totals: Counter[str] = Counter()
    for cell in cells:
        totals[cell["down"]] += cell["count"]
    shades = ((cell["count"] / (totals[cell["down"]] or 1)) ** 0.5 for cell in cells)
    return [
        {
            **cell,
            "shade": shade if cell["is_right"] else -shade,
            "said": f"{cell['down']} → {cell['across']}: {cell['count']}",
        }
        for cell, shade in zip(cells, shades, strict=True)
    ]


def _distinct(names: Sequence[Any]) -> list[str]:
    """Names as shown, told apart where they differ only in what is not shown."""
    shown = [display.raw(name, 40) for name in names]
    return [name if shown.count(name) == 1 else f"{name} ({place + 1})" for place, name in enumerate(shown)]
