"""The best of a search trial by trial, over the band that luck alone reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from finetune30.ui import charts
from finetune30.ui.many_charts import Axis
from finetune30.ui.session import t

Json = dict[str, Any]

HEIGHT = 300
_BAND, _BEST = "band", "best"


def best_so_far(score: Axis, band: Sequence[Json], default: float | None, *, greater: bool, key: str) -> None:
    """Plot the value of every trial, the best of all up to it, and how far that may lead trial 0 by luck.

    `score` has a value a trial, in the order of their numbers; `band` has points `tried` and `reach`, none where it is
    not known.
    """
    trials: list[Json] = []
    best: list[Json] = []
    for number, value in enumerate(score.values):
        if value is None:
            continue
        trials.append({"tried": number + 1, "value": value, "number": number, "text": score.texts[number]})
        held = best[-1]["value"] if best else value
        best.append({"tried": number + 1, "value": max(held, value) if greater else min(held, value)})
    form = ".1~%" if score.is_share else ".4~g"
    x = alt.X("tried:Q", title=t("searches.tried"), axis=alt.Axis(tickMinStep=1, format="d"))
    y = alt.Y("value:Q", title=score.title, scale=alt.Scale(zero=False, padding=12), axis=alt.Axis(format=form))
    colour, marked = charts.palette()[0], charts.palette()[1]
    shade = (
        charts.new_chart(_BAND, height=HEIGHT)
        .mark_area(color=charts.palette()[5], opacity=0.28)
        .encode(x=x, y=alt.Y("reach:Q", title=score.title), y2="default:Q")
    )
    line = charts.new_chart(_BEST).mark_line(color=marked, strokeWidth=2.5, interpolate="step-after").encode(x=x, y=y)
    points = (
        charts.new_chart()
        .mark_point(filled=True, size=60, color=colour)
        .encode(
            x=x,
            y=y,
            tooltip=[
                alt.Tooltip("number:Q", title=t("searches.trial"), format="d"),
                alt.Tooltip("text:N", title=score.title),
            ],
        )
    )
    shaded = [{**point, "default": default} for point in band]
    title = t("searches.best_so_far")
    tables = {charts.ROWS: trials, _BEST: best, **({_BAND: shaded} if shaded else {})}
    charts.draw(shade + line + points if shaded else line + points, tables, key, title)
