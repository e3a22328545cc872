"""The plots: quiet, labelled, and thinned out so that a long run costs no more than a short one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from finetune30.ui.display import raw
from finetune30.ui.session import t

Json = dict[str, Any]
#: Points in one line; more cannot be told apart on a screen.
MOST_POINTS = 600
HEIGHT = 240
AXES = ("step", "epoch", "time")
ACCENT = "#2f6f8f"
SECOND = "#c2703d"
#: Told apart by brightness too, for eyes that mix up hues.
PALETTE = (ACCENT, SECOND, "#7a9e3f", "#7d5a9e", "#1b3a4b", "#d9a441", "#4fa3a5", "#8c4a4a")


def thin(records: Sequence[Json], most: int = MOST_POINTS) -> list[Json]:
    """Return at most `most` records, evenly chosen, always with the last one."""
    if len(records) <= most:
        return list(records)
    stride = len(records) / (most - 1)
    return [records[int(n * stride)] for n in range(most - 1)] + [records[-1]]


def curve(
    records: Sequence[Json], value: str, *, title: str, axis: str = "step", key: str, marks: bool = False
) -> None:
    """Plot one value of the history over step, epoch or time (seconds since the first record)."""
    points = _points(records, value, axis)
    if not points:
        st.caption(t("chart.empty", title=title))
        return
    frame = pd.DataFrame(thin(points))
    color = SECOND if marks else ACCENT
    chart = (
        alt.Chart(frame, height=HEIGHT)
        .mark_line(point={"color": color} if marks or len(points) < 12 else False, color=color)
        .encode(
            x=_across(axis),
            y=alt.Y("y:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(format="~g")),
            tooltip=[alt.Tooltip("x:Q", title=t(f"axis.{axis}")), alt.Tooltip("y:Q", title=title, format=".4g")],
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
            y=alt.Y("y:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(format="~g")),
            color=alt.Color(
                "run:N",
                title=None,
                scale=alt.Scale(range=list(PALETTE)),
                legend=alt.Legend(orient="bottom", columns=1, labelLimit=400),
            ),
            tooltip=["run:N", alt.Tooltip("x:Q", title=t(f"axis.{axis}")), alt.Tooltip("y:Q", format=".4g")],
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
    chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_bar()
        .encode(
            y=alt.Y("label:N", title=None, sort="-x"),
            x=alt.X("rows:Q", title=t("chart.rows"), axis=alt.Axis(tickMinStep=1, tickCount=6, format=",d")),
            color=alt.Color(
                "split:N", title=None, scale=alt.Scale(range=[ACCENT, SECOND]), legend=alt.Legend(orient="bottom")
            ),
            yOffset="split:N",
            tooltip=["label:N", "split:N", "rows:Q"],
        )
        .properties(title=title)
    )
    st.altair_chart(chart, width="stretch", key=key, alt=title)


def daily(days: Mapping[str, int], *, title: str, key: str) -> None:
    """Plot runs a day."""
    frame = pd.DataFrame({"day": list(days), "runs": list(days.values())})
    chart = (
        alt.Chart(frame, height=160)
        .mark_bar(color=ACCENT)
        .encode(
            x=alt.X("day:T", title=None),
            y=alt.Y("runs:Q", title=None, axis=alt.Axis(tickMinStep=1, format="d")),
            tooltip=["day:T", "runs:Q"],
        )
        .properties(title=title)
    )
    st.altair_chart(chart, width="stretch", key=key, alt=title)


def trend(runs: Sequence[Json], value: str, *, title: str, form: str, key: str) -> None:
    """Plot one value of the listed runs by the time of their making; `form` is a number format of D3."""
    points = [
        {"at": run["created_at"], "value": run[value], "name": raw(run.get("name", ""), 60)}
        for run in runs
        if run.get(value) is not None
    ]
    if len(points) < 2:
        return
    chart = (
        alt.Chart(pd.DataFrame(points), height=170)
        .mark_circle(size=60, color=ACCENT)
        .encode(
            x=alt.X("at:T", title=None, axis=alt.Axis(format="%m-%d %H:%M", labelOverlap="greedy", tickCount=5)),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False, padding=10), axis=alt.Axis(format=form)),
            tooltip=["name:N", alt.Tooltip("at:T", format="%Y-%m-%d %H:%M"), alt.Tooltip("value:Q", format=form)],
        )
        .properties(title=title)
    )
    st.altair_chart(chart, width="stretch", key=key, alt=title)


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str], *, title: str, key: str) -> None:
    """Plot a confusion matrix, true labels downwards."""
    names = [raw(label, 40) for label in labels] or [str(n) for n in range(len(matrix))]
    cells: list[Json] = [
        {"true": names[row], "predicted": names[column], "rows": count}
        for row, counts in enumerate(matrix)
        for column, count in enumerate(counts)
        if row < len(names) and column < len(names)
    ]
    most = max((cell["rows"] for cell in cells), default=0)
    base = alt.Chart(pd.DataFrame(cells)).encode(
        x=alt.X(
            "predicted:N",
            title=t("chart.predicted"),
            sort=names,
            axis=alt.Axis(labelAngle=0 if len(names) < 8 else -45),
        ),
        y=alt.Y("true:N", title=t("chart.true"), sort=names),
        tooltip=["true:N", "predicted:N", "rows:Q"],
    )
    heat = base.mark_rect().encode(color=alt.Color("rows:Q", legend=None, scale=alt.Scale(range=["#eef3f6", ACCENT])))
    text = base.mark_text().encode(
        text="rows:Q",
        color=alt.condition(alt.datum.rows > most / 2, alt.value("white"), alt.value("#22313a")),
    )
    layers = heat + text if len(names) <= 20 else heat
    st.altair_chart(
        layers.properties(title=title, height=max(200, 34 * len(names))), width="stretch", key=key, alt=title
    )


def _across(axis: str) -> alt.X:
    """The horizontal axis: steps are whole numbers."""
    ticks = alt.Axis(format=",d", tickMinStep=1) if axis == "step" else alt.Axis(format="~g")
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
