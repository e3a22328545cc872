"""The curves of a training: smoothed, zoomed and made logarithmic in the browser, without a word to the server.

Every chart is a specification of Vega-Lite over one table, so that new records change the data only and whatever a
person has set stays. Controls are Vega's parameters; what they choose among is in the table (a column for each degree
of smoothing).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from finetune30.ui import charts, display
from finetune30.ui.history import find_points, measured, thin, values_of
from finetune30.ui.layout import show_figures
from finetune30.ui.metrics import is_share, metric_value
from finetune30.ui.session import t, t_or
from finetune30.ui.smoothing import FIRST, WEIGHTS, find_trend, smooth

Json = dict[str, Any]

#: Heights with axis and legend, in pixels; the tall one has room for its controls, others grow by every control.
TALL, HEIGHT, CONTROL = 420, 250, 30
#: Points of all lines of a chart.
MOST_POINTS = 1200
#: What the loss of an evaluation is called in its record, and that of the training.
EVALUATION_LOSS, TRAINING_LOSS = "eval_loss", "loss"
#: Curves of the training besides its loss.
_FURTHER = ("learning_rate", "grad_norm")
#: What jumps from record to record.
_SMOOTHED = (TRAINING_LOSS, "grad_norm")
#: A line of so few points shows them.
_FEW_POINTS = 30
#: Zooming takes a key, so that the wheel goes on scrolling the page; a finger on a telephone scrolls it too.
_ZOOM = {
    "type": "interval",
    "encodings": ["x", "y"],
    "zoom": "wheel![event.ctrlKey || event.shiftKey]",
    "translate": "[mousedown, window:mouseup] > window:mousemove!",
}


def show_curves(
    records: Sequence[Json], *, key: str, axis: str = "step", best_step: int | None = None, figures: bool = True
) -> None:
    """Show the curves of a run's history over step, epoch or time; the step whose weights were best is marked.

    Training and evaluation loss stand in one chart. What was measured once is a number, not a chart: not shown with
    `figures` False, where it stands above already.
    """
    evaluated = [record for record in records if record.get("type") == "eval"]
    losses = values_of(records, TRAINING_LOSS)
    if not losses and not evaluated:
        st.caption(t("follow.no_curves"))
        return
    _warn(records, losses)
    best = next((record for record in evaluated if best_step and record.get("step") == best_step), None)
    if len(losses) > 1:
        lines = {t("curves.train"): (records, TRAINING_LOSS), t("curves.evaluation"): (records, EVALUATION_LOSS)}
        _plot(lines, t("curves.loss"), axis, key=f"{key}-loss", best=best, tall=True)
    counts = {name: len(values_of(evaluated, name)) for name in measured(evaluated)}
    often = [name for name, count in counts.items() if count > 1 and name != EVALUATION_LOSS]
    often += [name for name in _FURTHER if len(values_of(records, name)) > 1]
    for start in range(0, len(often), 2):
        for place, name in zip(st.columns(2), often[start : start + 2], strict=False):
            with place:
                title, marked = t_or(f"metric.{name}", display.raw(name)), None if name in _FURTHER else best
                kind = t("curves.train" if name in _FURTHER else "curves.evaluation")
                _plot({kind: (records, name)}, title, axis, key=f"{key}-{name}", best=marked)
    if figures:
        _show_once({name: values_of(evaluated, name)[0] for name, count in counts.items() if count == 1})
    st.caption(t("curves.hint"))


def show_overlaid(series: Mapping[str, Sequence[Json]], value: str, *, title: str, axis: str, key: str) -> None:
    """Plot one value of the histories of several runs over each other; `show_legend` says which is which."""
    if not any(values_of(records, value) for records in series.values()):
        st.caption(t("chart.empty", title=title))
        return
    _plot({name: (records, value) for name, records in series.items()}, title, axis, key=key, legend=False)


def show_legend(names: Sequence[str]) -> None:
    """Show the colours of lines with their names, once for all charts beneath."""
    marks = zip(charts.palette(), names, strict=False)
    entries = (
        f'<span role="listitem" style="display:inline-flex;align-items:center;margin-right:1.2em">'
        f'<span style="width:1.4em;height:0.25em;background:{color};margin-right:0.5em"></span>{escape(name)}</span>'
        for color, name in marks
    )
    st.html(f'<div role="list" style="line-height:1.9">{"".join(entries)}</div>')


def _show_once(measured: Mapping[str, float]) -> None:
    """One point is no curve: show the numbers."""
    if measured:
        st.caption(t("curves.once"))
        names = {name: t_or(f"metric.{name}", display.raw(name)) for name in measured}
        show_figures((display.plain(names[name]), metric_value(name, value)) for name, value in measured.items())


def _warn(records: Sequence[Json], losses: Sequence[float]) -> None:
    """Say in plain words where the loss does not fall."""
    trend = find_trend(losses, values_of(records, EVALUATION_LOSS))
    if trend:
        shown = {"first": display.number(losses[0], 3), "last": display.number(losses[-1], 3)}
        step = display.number(max(record.get("step") or 0 for record in records))
        st.warning(t(f"curves.{trend}", step=step, **shown), icon=":material/trending_flat:")


def _plot(
    lines: Mapping[str, tuple[Sequence[Json], str]],
    title: str,
    axis: str,
    *,
    key: str,
    best: Json | None = None,
    tall: bool = False,
    legend: bool = True,
) -> None:
    most = MOST_POINTS // len(lines)
    tables = [_tabulate(name, records, value, axis, most) for name, (records, value) in lines.items()]
    if best is not None:
        tables.append(_mark_best(best, axis, next(iter(lines.values()))[0]))
    value = next(iter(lines.values()))[1]
    controls = sum("bind" in control for control in _controls(value))
    spec = _describe(title, [*lines], value, axis, TALL if tall else HEIGHT + CONTROL * controls, legend=legend)
    frame = pd.concat([table for table in tables if len(table)], ignore_index=True)
    st.vega_lite_chart(frame, spec, width="stretch", key=key, alt=title)


def _tabulate(name: str, records: Sequence[Json], value: str, axis: str, most: int) -> pd.DataFrame:
    """Return the points of a line: x, y, and y at each degree of smoothing (evaluations are not smoothed)."""
    points = find_points(records, value, axis)
    values = [point["y"] for point in points]
    for number, weight in enumerate(WEIGHTS):
        calm = smooth(values, weight) if value in _SMOOTHED else values
        for point, smoothed in zip(points, calm, strict=True):
            point[f"s{number}"] = smoothed
    is_marked = len(points) <= _FEW_POINTS
    return pd.DataFrame(thin(points, most)).assign(line=name, role="line", is_marked=is_marked)


def _mark_best(best: Json, axis: str, records: Sequence[Json]) -> pd.DataFrame:
    """Return the place of the best step among these records."""
    words = t("curves.best_step", step=display.number(best.get("step")))
    places = find_points([*records[:1], best], "step", axis)[-1:]
    return pd.DataFrame([{"x": point["x"], "role": "best", "line": words} for point in places])


def _describe(title: str, names: Sequence[str], value: str, axis: str, height: int, *, legend: bool) -> Json:
    """Return the specification: faint raw values, smoothed ones with marks, and a rule at the best step."""
    across, color = _across(axis), _color(names, legend=legend)
    form, exact = (".1~%", ".1%") if is_share(value) else (".4~g", ".4g")
    written = f"logarithmic ? format(pow(10, datum.value), '.2~g') : format(datum.value, '{form}')"
    upwards: Json = {"field": "shown", "type": "quantitative", "title": None, "scale": {"zero": False}}
    upwards["axis"] = {"labelExpr": written}
    tooltip = [
        {"field": "line", "type": "nominal", "title": t("curves.line")},
        {"field": "x", "type": "quantitative", "title": t(f"axis.{axis}"), "format": ",d" if axis == "step" else ".4g"},
        {"field": "y", "type": "quantitative", "title": title, "format": exact},
    ]
    drawn = {"x": across, "y": upwards, "color": color, "tooltip": tooltip}
    best = {"transform": [{"filter": "datum.role == 'best'"}]}
    words = {"field": "line", "type": "nominal", "title": t("curves.best")}
    ink = {"color": charts.ink(), "opacity": 0.7}
    return {
        "title": title,
        "height": height,
        "params": _controls(value),
        "transform": [
            {"calculate": "datum['s' + smoothing]", "as": "calm"},
            {"calculate": _scaled("datum.calm"), "as": "shown"},
            {"calculate": _scaled("datum.y"), "as": "raw"},
        ],
        "layer": [
            {
                "transform": [{"filter": "datum.role == 'line' && isValid(datum.raw) && smoothing > 0"}],
                "mark": {"type": "line", "opacity": 0.25, "clip": True},
                "encoding": {"x": across, "y": {**upwards, "field": "raw"}, "color": color},
            },
            {
                "params": [{"name": "zoom", "select": _ZOOM, "bind": "scales"}],
                "transform": [{"filter": "datum.role == 'line' && isValid(datum.shown)"}],
                "mark": {"type": "line", "clip": True},
                "encoding": drawn,
            },
            {
                "transform": [{"filter": "datum.is_marked && isValid(datum.shown)"}],
                "mark": {"type": "point", "filled": True, "size": 40, "opacity": 1, "clip": True},
                "encoding": drawn,
            },
            {
                **best,
                "mark": {"type": "rule", "strokeDash": [4, 4], "aria": False, **ink},
                "encoding": {"x": across, "tooltip": [words]},
            },
            {
                **best,
                "mark": {"type": "text", **_INWARDS, "fontSize": 11, **_free_end(value), **ink},
                "encoding": {"x": across, "text": words},
            },
        ],
    }


#: Words stand on that side of their place on which there is more room, so that none is cut off at the edge.
_INWARDS = {
    "align": {"expr": "scale('x', datum.x) > width / 2 ? 'right' : 'left'"},
    "dx": {"expr": "scale('x', datum.x) > width / 2 ? -5 : 5"},
}


def _free_end(value: str) -> Json:
    """Return where words are not in the way of the line: a loss falls, what else is measured rises."""
    return {"y": 0, "dy": 8} if value.endswith("loss") else {"y": {"expr": "height"}, "dy": -8}


def _across(axis: str) -> Json:
    ticks = {"format": ",d", "tickMinStep": 1} if axis == "step" else {"format": ".4~g"}
    scale = {"nice": False, "zero": False}
    return {"field": "x", "type": "quantitative", "title": t(f"axis.{axis}"), "scale": scale, "axis": ticks}


def _color(names: Sequence[str], *, legend: bool) -> Json:
    domain = list(names)
    below = {"orient": "bottom", "padding": 0, "offset": 4, "symbolOpacity": 1} if legend and len(domain) > 1 else None
    scale = {"domain": domain, "range": list(charts.palette()[: len(domain)])}
    return {"field": "line", "type": "nominal", "title": None, "scale": scale, "legend": below}


def _controls(value: str) -> list[Json]:
    """Return the parameters that a person may set, each where it makes a difference."""
    smoothing: Json = {"name": "smoothing", "value": FIRST if value in _SMOOTHED else 0}
    logarithmic: Json = {"name": "logarithmic", "value": False}
    if value in _SMOOTHED:
        steps = {"min": 0, "max": len(WEIGHTS) - 1, "step": 1}
        smoothing["bind"] = {"input": "range", **steps, "name": t("curves.smoothing")}
    if not is_share(value):
        logarithmic["bind"] = {"input": "checkbox", "name": t("curves.logarithmic")}
    return [smoothing, logarithmic]


def _scaled(value: str) -> str:
    return f"logarithmic ? ({value} > 0 ? log({value}) / LN10 : null) : {value}"
