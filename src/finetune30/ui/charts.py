"""The plots of counts and figures: quiet and labelled. Curves of a training are in `curves`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import altair as alt
import pandas as pd
import streamlit as st
from altair.utils import schemapi

from finetune30.ui.display import moment, raw
from finetune30.ui.session import t

Json = dict[str, Any]
#: A chart, or its specification of Vega-Lite: layers of Altair copy themselves and all that is in them many times.
Drawn = alt.Chart | alt.LayerChart | Json
#: What is written at a chart, in the visitor's language: title, x, y and the like.
Words = Mapping[str, str]
#: Data versions that a legend tells apart; of more only the tooltip says which is which.
MOST_IN_LEGEND = 8
HEIGHT = 240
ACCENT = "#2f6f8f"
#: What is right and what is wrong, where both are shades.
DIVERGING = (ACCENT, "#b5602f")
#: Name of the table of a chart that has but one.
ROWS = "rows"
#: The selection that a press makes.
PRESSED = "pressed"
#: By the page's background; told apart by brightness too, for eyes that mix up hues.
PALETTES = {
    "light": (ACCENT, "#c2703d", "#7a9e3f", "#7d5a9e", "#1b3a4b", "#d9a441", "#4fa3a5", "#8c4a4a"),
    "dark": ("#6fb3d2", "#d98a55", "#a3c266", "#b39ad6", "#e4eaed", "#d9a441", "#4fa3a5", "#cf7f7f"),
}

#: Altair checks every part of a chart as it is made, which takes longer than all else. Tests check what is drawn.
schemapi.DEBUG_MODE = False


def bars(counts: Mapping[str, Mapping[str, int]], *, title: str, key: str) -> None:
    """Plot how many rows every label has, by split."""
    rows = [
        {"label": raw(label, 60), "rows": count, "split": t(f"split.{split}")}
        for split, labels in counts.items()
        for label, count in labels.items()
    ]
    if not rows:
        return
    splits = [t(f"split.{split}") for split in counts]
    chart = (
        new_chart()
        .mark_bar()
        .encode(
            y=alt.Y("label:N", title=None, sort="-x"),
            x=alt.X("rows:Q", title=t("chart.rows"), axis=alt.Axis(tickMinStep=1, tickCount=6, format=",d")),
            color=alt.Color(
                "split:N",
                title=None,
                scale=alt.Scale(domain=splits, range=list(palette()[: len(splits)])),
                legend=_legend(),
            ),
            yOffset=alt.YOffset("split:N", sort=splits),
            tooltip=[
                alt.Tooltip("label:N", title=t("data.label")),
                alt.Tooltip("split:N", title=t("ledger.split")),
                alt.Tooltip("rows:Q", title=t("chart.rows"), format=",d"),
            ],
        )
        .properties(title=title)
    )
    draw(chart, {ROWS: rows}, key, title)


def daily(days: Mapping[str, int], *, title: str, key: str) -> None:
    """Plot runs a day."""
    rows = [{"day": day, "runs": count} for day, count in days.items()]
    chart = (
        new_chart(height=160)
        .mark_bar(color=palette()[0])
        .encode(
            x=alt.X("day:T", title=None),
            y=alt.Y("runs:Q", title=None, axis=alt.Axis(tickMinStep=1, format="d")),
            tooltip=[
                alt.Tooltip("day:T", title="UTC", format="%Y-%m-%d"),
                alt.Tooltip("runs:Q", title=t("experiments.total")),
            ],
        )
        .properties(title=title)
    )
    draw(chart, {ROWS: rows}, key, title)


def trend(runs: Sequence[Json], value: str, *, title: str, form: str, key: str, by: str | None = None) -> None:
    """Plot one value of the listed runs by the time of their making; `form` is a number format of D3.

    With `by`, the beginning of a digest, runs that differ in it have different colours.
    """
    points = [
        {
            "at": run["created_at"],
            "value": run[value],
            "name": raw(run.get("name", ""), 60),
            "group": raw(run.get(by) or "", 12).removesuffix("…") if by else "",
        }
        for run in runs
        if run.get(value) is not None
    ]
    if len(points) < 2:
        return
    groups = sorted({point["group"] for point in points})
    chart = (
        new_chart(height=170)
        .mark_circle(size=60, opacity=0.9)
        .encode(
            x=alt.X("at:T", title=None, axis=alt.Axis(format=_clock(points), labelOverlap="greedy", tickCount=5)),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False, padding=10), axis=alt.Axis(format=form)),
            color=alt.Color(
                "group:N",
                title=t("column.data"),
                scale=alt.Scale(domain=groups, range=list(palette())),
                legend=_legend() if 1 < len(groups) <= MOST_IN_LEGEND else None,
            ),
            tooltip=[
                alt.Tooltip("name:N", title=t("column.name")),
                *([alt.Tooltip("group:N", title=t("column.data"))] if by else []),
                alt.Tooltip("at:T", title=t("column.created"), format="%Y-%m-%d %H:%M"),
                alt.Tooltip("value:Q", title=title, format=".1%" if form.endswith("%") else ".4g"),
            ],
        )
        .properties(title=title)
    )
    draw(chart, {ROWS: points}, key, title)


def _clock(points: Sequence[Json]) -> str:
    """Return how moments are written so that those beneath an axis differ; the tooltip has them whole."""
    moments = [found for point in points if (found := moment(point["at"]))]
    seconds = (max(moments) - min(moments)).total_seconds() if moments else 0.0
    return "%H:%M:%S" if seconds < 600 else "%m-%d %H:%M" if seconds < 10 * 86_400 else "%Y-%m-%d"


def lines(
    series: Mapping[str, Sequence[Sequence[float]]],
    words: Words,
    key: str,
    *,
    as_bars: bool = False,
    on_press: Callable[[Json], None] | None = None,
) -> None:
    """Plot points of one or several lines over a common axis, or as bars; `words` name title and both axes.

    A press on a bar calls `on_press` with its `x`.
    """
    points = [{"line": raw(name, 60), "x": x, "y": y} for name, line in series.items() for x, y in line]
    if not points:
        st.caption(t("chart.empty", title=words["title"]))
        return
    chart = new_chart(height=HEIGHT)
    if as_bars:
        marked = chart.mark_bar(size=max(3, min(24, 420 // len(points))), color=palette()[0])
    else:
        marked = chart.mark_line(point=len(points) < 40, color=palette()[0])
    drawn = marked.encode(
        x=alt.X("x:Q", title=words["x"], axis=alt.Axis(format=".4~g"), scale=alt.Scale(zero=False)),
        y=alt.Y("y:Q", title=words["y"], axis=alt.Axis(format=".6~g"), scale=alt.Scale(zero=as_bars)),
        tooltip=[
            alt.Tooltip("x:Q", title=words["x"], format=".4~g"),
            alt.Tooltip("y:Q", title=words["y"], format=".6~g"),
        ],
    )
    if len(series) > 1:
        drawn = drawn.encode(color=alt.Color("line:N", title=None, scale=_line_scale(series), legend=_legend()))
    show_pressable(drawn, points, key, words["title"], ["x"], on_press)


def show_pressable(
    chart: Drawn,
    rows: Sequence[Json],
    key: str,
    title: str,
    fields: list[str],
    on_press: Callable[[Json], None] | None,
) -> None:
    """Draw a chart of rows; where `on_press` is given a press on a mark calls it with the `fields` of the mark."""
    if on_press is None:
        draw(chart, {ROWS: rows}, key, title)
        return
    # A chart that was pressed is drawn as a new one: the same mark can be pressed again.
    state, counter = st.session_state, f"{key}-presses"
    now = f"{key}-{state.get(counter, 0)}"

    def press() -> None:
        marks = ((state.get(now) or {}).get("selection") or {}).get(PRESSED)
        if marks:
            state[counter] = state.get(counter, 0) + 1
            on_press(dict(marks[0]))

    spec = _describe(chart)
    pressed: Json = {"name": PRESSED, "select": {"type": "point", "fields": fields, "on": "click", "clear": False}}
    if "layer" in spec:
        pressed["views"] = [spec["layer"][0]["name"]]
    draw({**spec, "params": [pressed]}, {ROWS: rows}, now, title, press)


def new_chart(table: str = ROWS, **properties: Any) -> alt.Chart:
    """Return a chart of a table that `draw` is given under this name."""
    return alt.Chart(alt.NamedData(table), **properties)


def draw(
    chart: Drawn,
    tables: Mapping[str, Sequence[Json]],
    key: str,
    title: str,
    on_select: Callable[[], None] | Literal["ignore"] = "ignore",
) -> None:
    """Draw a chart of tables by their names.

    Not by `st.altair_chart`, which has Altair check all that it draws.
    """
    datasets = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    spec = {**_describe(chart), "datasets": datasets}
    st.vega_lite_chart(spec=spec, width="stretch", key=key, alt=title, on_select=on_select)


def _describe(chart: Drawn) -> Json:
    """Return the specification of a chart, without what Altair's own theme says of sizes."""
    spec: Json = chart if isinstance(chart, dict) else chart.to_dict(validate=False)
    return {name: part for name, part in spec.items() if name != "config"}


def _line_scale(series: Mapping[str, Any]) -> alt.Scale:
    return alt.Scale(domain=[raw(name, 60) for name in series], range=list(palette()))


def ink() -> str:
    """Return the colour of writing in a chart."""
    return "#e4eaed" if is_dark() else "#22313a"


def palette() -> tuple[str, ...]:
    """The colours that stand out from the visitor's background."""
    return PALETTES["dark" if is_dark() else "light"]


def is_dark() -> bool:
    """Tell whether the visitor looks at a dark page."""
    return bool(st.context.theme.type == "dark")


def _legend(**more: Any) -> alt.Legend:
    """A legend close beneath its chart, so that the plot keeps the room."""
    return alt.Legend(orient="bottom", padding=0, offset=4, rowPadding=2, **more)
