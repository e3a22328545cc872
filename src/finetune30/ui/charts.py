"""The plots: quiet, labelled, and thinned out so that a long run costs no more than a short one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from finetune30.ui.display import raw
from finetune30.ui.metrics import is_share
from finetune30.ui.session import t

Json = dict[str, Any]
#: What is written at a chart, in the visitor's language: title, x, y and the like.
Words = Mapping[str, str]
#: Points in one line; more cannot be told apart on a screen.
MOST_POINTS = 600
#: Data versions that a legend tells apart; of more only the tooltip says which is which.
MOST_IN_LEGEND = 8
HEIGHT = 240
#: Ends of names of what an evaluation took, which says nothing about the model.
SPEEDS = ("_runtime", "_second")
AXES = ("step", "epoch", "time")
ACCENT = "#2f6f8f"
#: By the page's background; told apart by brightness too, for eyes that mix up hues.
PALETTES = {
    "light": (ACCENT, "#c2703d", "#7a9e3f", "#7d5a9e", "#1b3a4b", "#d9a441", "#4fa3a5", "#8c4a4a"),
    "dark": ("#6fb3d2", "#d98a55", "#a3c266", "#b39ad6", "#e4eaed", "#d9a441", "#4fa3a5", "#cf7f7f"),
}


def thin(records: Sequence[Json], most: int = MOST_POINTS) -> list[Json]:
    """Return at most `most` records, evenly chosen, always with the last one."""
    if len(records) <= most:
        return list(records)
    stride = len(records) / (most - 1)
    return [records[int(n * stride)] for n in range(most - 1)] + [records[-1]]


def measured(evaluations: Sequence[Json]) -> list[str]:
    """Return the names of what evaluations measured, but not how long they took."""
    names = dict.fromkeys(
        name for record in evaluations for name, value in record.items() if isinstance(value, int | float)
    )
    return [name for name in names if name.startswith("eval_") and not name.endswith(SPEEDS)]


def curve(
    records: Sequence[Json], value: str, *, title: str, axis: str = "step", key: str, marks: bool = False
) -> None:
    """Plot one value of the history over step, epoch or time (seconds since the first record)."""
    points = _points(records, value, axis)
    if not points:
        st.caption(t("chart.empty", title=title))
        return
    frame = pd.DataFrame(thin(points))
    color = _palette()[1 if marks else 0]
    chart = (
        alt.Chart(frame, height=HEIGHT)
        .mark_line(point={"color": color} if marks or len(points) < 12 else False, color=color)
        .encode(
            x=_across(axis),
            y=_upwards(value),
            tooltip=[_tooltip_across(axis), alt.Tooltip("y:Q", title=title, format=_exact(value))],
        )
        .properties(title=title)
    )
    st.altair_chart(chart, width="stretch", key=key, alt=title)


def overlaid(series: Mapping[str, Sequence[Json]], value: str, *, title: str, axis: str, key: str) -> None:
    """Plot one value of several runs over each other."""
    rows = [
        {"run": raw(name, 60), **point}
        for name, records in series.items()
        for point in thin(_points(records, value, axis), MOST_POINTS // 2)
    ]
    if not rows:
        st.caption(t("chart.empty", title=title))
        return
    chart = (
        alt.Chart(pd.DataFrame(rows), height=HEIGHT + 30 * len(series))
        .mark_line(point=len(rows) < 40)
        .encode(
            x=_across(axis),
            y=_upwards(value),
            color=alt.Color(
                "run:N",
                title=None,
                sort=list(series),
                scale=alt.Scale(domain=[raw(name, 60) for name in series], range=list(_palette())),
                legend=_legend(columns=1, labelLimit=400),
            ),
            tooltip=[
                alt.Tooltip("run:N", title=t("run.title")),
                _tooltip_across(axis),
                alt.Tooltip("y:Q", title=title, format=_exact(value)),
            ],
        )
        .properties(title=title)
    )
    st.altair_chart(chart, width="stretch", key=key, alt=title)


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
        alt.Chart(pd.DataFrame(rows))
        .mark_bar()
        .encode(
            y=alt.Y("label:N", title=None, sort="-x"),
            x=alt.X("rows:Q", title=t("chart.rows"), axis=alt.Axis(tickMinStep=1, tickCount=6, format=",d")),
            color=alt.Color(
                "split:N",
                title=None,
                scale=alt.Scale(domain=splits, range=list(_palette()[: len(splits)])),
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
    st.altair_chart(chart, width="stretch", key=key, alt=title)


def daily(days: Mapping[str, int], *, title: str, key: str) -> None:
    """Plot runs a day."""
    frame = pd.DataFrame({"day": list(days), "runs": list(days.values())})
    chart = (
        alt.Chart(frame, height=160)
        .mark_bar(color=_palette()[0])
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
    st.altair_chart(chart, width="stretch", key=key, alt=title)


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
        alt.Chart(pd.DataFrame(points), height=170)
        .mark_circle(size=60, opacity=0.9)
        .encode(
            x=alt.X("at:T", title=None, axis=alt.Axis(format="%m-%d %H:%M", labelOverlap="greedy", tickCount=5)),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False, padding=10), axis=alt.Axis(format=form)),
            color=alt.Color(
                "group:N",
                title=t("column.data"),
                scale=alt.Scale(domain=groups, range=list(_palette())),
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
    st.altair_chart(chart, width="stretch", key=key, alt=title)


def heat(values: Sequence[Sequence[int]], rows: Sequence[str], columns: Sequence[str], words: Words, key: str) -> None:
    """Plot counts by two properties, rows downwards; `words` name title, rows, columns and what is counted."""
    down, across = _distinct(rows), _distinct(columns)
    cells: list[Json] = [
        {"down": down[row], "across": across[column], "count": count}
        for row, counts in enumerate(values)
        for column, count in enumerate(counts)
    ]
    most = max((cell["count"] for cell in cells), default=0)
    base = alt.Chart(pd.DataFrame(cells)).encode(
        x=alt.X("across:N", title=words["x"], sort=across, axis=alt.Axis(labelAngle=0 if len(across) < 8 else -45)),
        y=alt.Y("down:N", title=words["y"], sort=down),
        tooltip=[
            alt.Tooltip("down:N", title=words["y"]),
            alt.Tooltip("across:N", title=words["x"]),
            alt.Tooltip("count:Q", title=words["count"], format=",d"),
        ],
    )
    empty, ink = ("#1f282d", "#e4eaed") if _is_dark() else ("#eef3f6", "#22313a")
    shade = base.mark_rect().encode(color=alt.Color("count:Q", legend=None, scale=alt.Scale(range=[empty, ACCENT])))
    text = base.mark_text().encode(
        text="count:Q",
        color=alt.condition(alt.datum["count"] > most / 2, alt.value("white"), alt.value(ink)),
    )
    layers = shade + text if len(down) <= 20 else shade
    st.altair_chart(layers.properties(height=max(200, 34 * len(down))), width="stretch", key=key, alt=words["title"])


def lines(series: Mapping[str, Sequence[Sequence[float]]], words: Words, key: str, *, as_bars: bool = False) -> None:
    """Plot points of one or several lines over a common axis, or as bars; `words` name title and both axes."""
    points = [{"line": raw(name, 60), "x": x, "y": y} for name, line in series.items() for x, y in line]
    if not points:
        st.caption(t("chart.empty", title=words["title"]))
        return
    chart = alt.Chart(pd.DataFrame(points), height=HEIGHT)
    if as_bars:
        marked = chart.mark_bar(size=max(3, min(24, 420 // len(points))), color=_palette()[0])
    else:
        marked = chart.mark_line(point=len(points) < 40, color=_palette()[0])
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
    st.altair_chart(drawn, width="stretch", key=key, alt=words["title"])


def _line_scale(series: Mapping[str, Any]) -> alt.Scale:
    return alt.Scale(domain=[raw(name, 60) for name in series], range=list(_palette()))


def _distinct(names: Sequence[str]) -> list[str]:
    """Names as shown, told apart where they differ only in what is not shown."""
    shown = [raw(name, 40) for name in names]
    return [name if shown.count(name) == 1 else f"{name} ({place + 1})" for place, name in enumerate(shown)]


def _palette() -> tuple[str, ...]:
    """The colours that stand out from the visitor's background."""
    return PALETTES["dark" if _is_dark() else "light"]


def _is_dark() -> bool:
    return st.context.theme.type == "dark"


def _legend(**more: Any) -> alt.Legend:
    """A legend close beneath its chart, so that the plot keeps the room."""
    return alt.Legend(orient="bottom", padding=0, offset=4, rowPadding=2, **more)


def _upwards(value: str) -> alt.Y:
    """The vertical axis: shares as per cent, as everywhere on the page."""
    form = "~%" if is_share(value) else ".6~g"  # close values keep ticks of their own
    return alt.Y("y:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(format=form))


def _exact(value: str) -> str:
    return ".1%" if is_share(value) else ".4g"


def _tooltip_across(axis: str) -> alt.Tooltip:
    return alt.Tooltip("x:Q", title=t(f"axis.{axis}"), format=",d" if axis == "step" else ".4g")


def _across(axis: str) -> alt.X:
    """The horizontal axis: steps are whole numbers."""
    ticks = alt.Axis(format=",d", tickMinStep=1) if axis == "step" else alt.Axis(format=".4~g")
    return alt.X("x:Q", title=t(f"axis.{axis}"), axis=ticks, scale=alt.Scale(nice=False))


def _points(records: Sequence[Json], value: str, axis: str) -> list[Json]:
    start = None
    points = []
    for record in records:
        measured = record.get(value)
        if not isinstance(measured, int | float):
            continue
        x = record.get(axis)
        if axis == "time":
            at = pd.Timestamp(record["time"]) if record.get("time") else None
            start = at if start is None else start
            x = (at - start).total_seconds() if at is not None and start is not None else None
        if x is not None:
            points.append({"x": x, "y": measured})
    return points
