"""A learning curve: the score by training rows over the band of its 95 % intervals, and each run."""

from __future__ import annotations

from typing import Any

import altair as alt

from finetune30.ui import charts
from finetune30.ui.scores import score_title
from finetune30.ui.session import t

Json = dict[str, Any]

HEIGHT = 300
_MEANS, _BAND = "means", "band"


def learning_curve(summary: Json, runs: list[Json], key: str) -> None:
    """Plot the mean score of every share of the training rows that has a finished run; nothing where none has."""
    sizes = {point["share"]: point["training_rows"] for point in summary["points"]}
    known = [point for point in summary["points"] if point["mean"] is not None]
    if not known:
        return
    means = [{"rows": one["training_rows"], "score": one["mean"]} for one in known]
    band = [
        {"rows": one["training_rows"], "low": one["interval"]["low"], "high": one["interval"]["high"]}
        for one in known
        if one["interval"] is not None
    ]
    single = [
        {"rows": sizes[run["share"]], "score": run["score"], "seed": run["seed"]}
        for run in runs
        if run["score"] is not None
    ]
    name, form = score_title(str(summary["score_name"])), ".1~%" if summary["score_format"] == "percent" else ".4~g"
    ticks = alt.Axis(values=sorted(sizes.values()), format=",d", labelOverlap=True)
    x = alt.X("rows:Q", title=t("sets.training_rows"), scale=alt.Scale(type="log", padding=20), axis=ticks)
    y = alt.Y("score:Q", title=name, scale=alt.Scale(zero=False, padding=12), axis=alt.Axis(format=form))
    colour = charts.palette()[0]
    shade = (
        charts.new_chart(_BAND, height=HEIGHT)
        .mark_area(color=colour, opacity=0.2)
        .encode(x=x, y=alt.Y("low:Q", title=name), y2="high:Q")
    )
    line = charts.new_chart(_MEANS).mark_line(color=colour, strokeWidth=2.5, point=True).encode(x=x, y=y)
    points = (
        charts.new_chart()
        .mark_point(size=40, color=charts.palette()[1])
        .encode(
            x=x,
            y=y,
            tooltip=[
                alt.Tooltip("rows:Q", title=t("sets.training_rows"), format=",d"),
                alt.Tooltip("seed:Q", title=t("sets.seed"), format="d"),
                alt.Tooltip("score:Q", title=name, format=form),
            ],
        )
    )
    tables = {charts.ROWS: single, _MEANS: means, **({_BAND: band} if band else {})}
    charts.draw(shade + line + points if band else line + points, tables, key, t("sets.curve_title"))
