"""Many runs in one plot: one point a run over two values, or one line a run through several axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt
import streamlit as st

from finetune30.ui import charts
from finetune30.ui.display import raw
from finetune30.ui.session import t

Json = dict[str, Any]

HEIGHT = 320
#: Name of the table with what stands at both ends of an axis.
ENDS = "ends"
#: Values whose greatest is so many times their least are spread by their logarithm.
LOG_RATIO = 50.0


class Axis(NamedTuple):
    """One value of each run: `title`, `values` (None: the run has none) and `texts`, in the order of the runs."""

    title: str
    values: Sequence[Any]
    texts: Sequence[str]
    is_share: bool = False
    #: Whether the scale is logarithmic; None: told from the values.
    log: bool | None = None

    @property
    def is_number(self) -> bool:
        """Whether every value is a number."""
        return all(value is None or _is_number(value) for value in self.values)

    @property
    def is_log(self) -> bool:
        """Whether the values are spread over magnitudes, as learning rates are."""
        numbers = [value for value in self.values if value is not None] if self.is_number else []
        if not numbers or min(numbers) <= 0:
            return False
        return max(numbers) / min(numbers) >= LOG_RATIO if self.log is None else self.log

    def places(self) -> list[float | None]:
        """Return where each run meets the axis, 0 (least, or first word) to 1; 0.5 where all are alike."""
        if not self.is_number:
            words = sorted({text for text, value in zip(self.texts, self.values, strict=True) if value is not None})
            ranks = {word: rank for rank, word in enumerate(words)}
            numbers: list[float | None] = [
                None if value is None else float(ranks[text])
                for text, value in zip(self.texts, self.values, strict=True)
            ]
        else:
            scaled = math.log10 if self.is_log else float
            numbers = [None if value is None else scaled(value) for value in self.values]
        known = [number for number in numbers if number is not None]
        low, high = min(known, default=0.0), max(known, default=0.0)
        return [None if number is None else 0.5 if high == low else (number - low) / (high - low) for number in numbers]


def scatter(names: Sequence[str], across: Axis, upwards: Axis, group: Axis, *, key: str) -> None:
    """Plot a point for each run that has both values; colours tell apart what `group` says."""
    rows = [
        {"name": raw(name, 60), "x": x, "y": y, "group": told, "x_text": x_text, "y_text": y_text}
        for name, x, y, told, x_text, y_text in zip(
            names, across.values, upwards.values, group.texts, across.texts, upwards.texts, strict=True
        )
        if x is not None and y is not None
    ]
    if len(rows) < 2:
        st.caption(t("plots.too_few"))
        return
    groups = sorted({row["group"] for row in rows})
    title = f"{upwards.title} / {across.title}"
    chart = (
        charts.new_chart(height=HEIGHT)
        .mark_point(filled=True, size=90, opacity=0.9)
        .encode(
            x=_encode(alt.X, "x", across),
            y=_encode(alt.Y, "y", upwards),
            color=_colour("group", group.title, groups),
            shape=alt.Shape("group:N", title=group.title, legend=None)
            if len(groups) <= charts.MOST_IN_LEGEND
            else alt.Undefined,
            tooltip=[
                alt.Tooltip("name:N", title=t("column.name")),
                alt.Tooltip("x_text:N", title=across.title),
                alt.Tooltip("y_text:N", title=upwards.title),
                alt.Tooltip("group:N", title=group.title),
            ],
        )
        .interactive()
    )
    charts.draw(chart, {charts.ROWS: rows}, key, title)


def parallel(names: Sequence[str], axes: Sequence[Axis], *, key: str) -> None:
    """Draw a line for each run through every axis; its colour is where it meets the last one."""
    places = [axis.places() for axis in axes]
    rows: list[Json] = []
    for number, name in enumerate(names):
        told = {"run": number, "name": raw(name, 60), "last": places[-1][number]}
        rows += [
            {**told, "axis": place, "y": places[place][number], "what": axis.title, "text": axis.texts[number]}
            for place, axis in enumerate(axes)
            if places[place][number] is not None
        ]
    if len(names) < 2 or not rows:
        st.caption(t("plots.too_few"))
        return
    titles = [axis.title for axis in axes]
    base = charts.new_chart(height=HEIGHT)
    last = len(axes) - 0.5
    ends = alt.Scale(domain=[-0.5, last], nice=False)
    labels = " : ".join(f"datum.value == {place} ? {_quoted(title)}" for place, title in enumerate(titles)) + " : ''"
    ticks = alt.Axis(
        values=list(range(len(axes))), labelExpr=labels, title=None, grid=True, domain=False, ticks=False, orient="top",
        labelLimit=170, labelFontWeight="bold",
    )  # fmt: skip
    across = alt.X("axis:Q", scale=ends, axis=ticks)
    upwards = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-0.08, 1.08], nice=False))
    picked = alt.selection_point(fields=["run"], on="pointerover", nearest=True, empty=False)
    colour = alt.Color("last:Q", scale=alt.Scale(range=_ramp(), domain=[0, 1]), legend=None)
    lines = base.mark_line(strokeWidth=2).encode(
        x=across, y=upwards, detail="run:N", color=colour, order=alt.Order("axis:Q"),
        opacity=alt.condition(picked, alt.value(1.0), alt.value(0.55)),
        size=alt.condition(picked, alt.value(4), alt.value(2)),
    )  # fmt: skip
    points = base.mark_point(filled=True, size=50).encode(
        x=across, y=upwards, color=colour,
        tooltip=[
            alt.Tooltip("name:N", title=t("column.name")),
            alt.Tooltip("what:N", title=t("plots.axis")),
            alt.Tooltip("text:N", title=t("run.value")),
        ],
    ).add_params(picked)  # fmt: skip
    drawn = lines + points + _draw_ends(across, upwards)
    charts.draw(drawn, {charts.ROWS: rows, ENDS: _end_labels(axes, places)}, key, " / ".join(titles))


def _end_labels(axes: Sequence[Axis], places: Sequence[Sequence[float | None]]) -> list[Json]:
    """Return what is written at every axis: what both ends stand for, of words all of them."""
    rows: dict[tuple[int, float], str] = {}
    for place, (axis, found) in enumerate(zip(axes, places, strict=True)):
        for text, met in zip(axis.texts, found, strict=True):
            if met is not None and (not axis.is_number or met in (0.0, 0.5, 1.0)):
                rows[place, met] = text
    return [{"axis": place, "y": met, "text": text} for (place, met), text in rows.items()]


def _draw_ends(x: alt.X, y: alt.Y) -> alt.LayerChart:
    """Draw what stands in the table of ends."""
    ink, ground = ("#e4eaed", "#151b1f") if charts.is_dark() else ("#22313a", "#fdfdfc")
    base = charts.new_chart(ENDS).encode(x=x, y=y, text="text:N")
    place_of: Json = {"align": "left", "dx": 8, "dy": -7, "limit": 120}
    halo = base.mark_text(**place_of, stroke=ground, strokeWidth=4, strokeJoin="round")
    labels: alt.LayerChart = halo + base.mark_text(**place_of, color=ink)
    return labels


def _encode(channel: Any, name: str, axis: Axis) -> Any:
    if not axis.is_number:
        return channel(f"{name}:N", title=axis.title, axis=alt.Axis(labelAngle=0, labelLimit=140))
    scale = alt.Scale(type="log") if axis.is_log else alt.Scale(zero=False, padding=12)
    return channel(
        f"{name}:Q", title=axis.title, scale=scale, axis=alt.Axis(format=".1~%" if axis.is_share else ".4~g")
    )


def _colour(name: str, title: str, groups: Sequence[str]) -> alt.Color:
    few = 1 < len(groups) <= charts.MOST_IN_LEGEND
    legend = alt.Legend(orient="bottom", padding=0, offset=4, labelLimit=260) if few else None
    scale = alt.Scale(domain=list(groups), range=list(charts.palette()))
    return alt.Color(f"{name}:N", title=title, scale=scale, legend=legend)


def _ramp() -> list[str]:
    """From quiet to strong, both readable on the visitor's background."""
    return ["#9a7b4f", "#6fb3d2"] if charts.is_dark() else ["#c2703d", "#1f5573"]


def _quoted(text: str) -> str:
    """A text within an expression of Vega."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def build_axis(
    title: str, values: Sequence[Any], text: Mapping[int, str] | None = None, *, is_share: bool = False
) -> Axis:
    """Return an axis; `text` says a value in words where its own are not enough."""
    shown = [(text or {}).get(place) or _written(value, is_share) for place, value in enumerate(values)]
    return Axis(title, list(values), shown, is_share)


def _written(value: Any, is_share: bool) -> str:
    if value is None:
        return "–"
    if _is_number(value):
        return f"{100 * value:.1f} %" if is_share else f"{value:.4g}"
    return raw(value, 40)
