"""What was decided of the trials of a search at each rung, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import streamlit as st

from finetune30.ui.layout import show_table
from finetune30.ui.metrics import metric_value
from finetune30.ui.scores import score_title
from finetune30.ui.session import t

Json = dict[str, Any]


def show_rungs(described: Json) -> None:
    """Show each rung, where the search stops trials on their way."""
    stop = described["spec"].get("stop")  # only of searches that stop something
    if stop is None:
        return
    st.header(t("searches.rungs"), anchor=False)
    shown = [_describe(described, rung, share) for rung, share in enumerate(stop["at"])]
    show_table(shown, alt=t("searches.rungs"), most_pixels=300)
    st.caption(t("searches.rungs_told"))


def _describe(described: Json, rung: int, share: float) -> Json:
    rows, metric = [row for row in described["rungs"] if row["rung"] == rung], str(described["metric"])
    went_on = [row for row in rows if row["verdict"] == "promoted"]
    stopped = [row for row in rows if row["verdict"] == "stopped"]
    waiting = _count_waiting(described)[rung]
    least, best = (min, max) if described["greater_is_better"] else (max, min)
    title = score_title(metric)
    return {
        t("searches.rung_share"): f"{100 * share:.0f} %",
        t("searches.rung_step"): _tell_steps(rows),
        t("searches.rung_reached"): len(rows) + waiting,
        t("searches.rung_paused"): waiting,
        t("searches.rung_promoted"): len(went_on),
        t("searches.rung_stopped"): len(stopped),
        t("searches.rung_level"): f"{100 * rows[-1]['compared']['level']:.2g} %" if rows else "",
        t("searches.rung_best_stopped", metric=title): metric_value(metric, _find(best, stopped)),
        t("searches.rung_least_promoted", metric=title): metric_value(metric, _find(least, went_on)),
    }


def _count_waiting(described: Json) -> Counter[int]:
    """Return how many trials wait at each rung: the first one that nothing is decided at yet."""
    decided = Counter(row["number"] for row in described["rungs"])
    paused = [one for one in described["trials"] if one["run_status"] == "PAUSED" and one["reused_from"] is None]
    return Counter(decided[one["number"]] for one in paused)


def _tell_steps(rows: list[Json]) -> str:
    """Return the step at which a rung was decided on; two where batches of several sizes make trainings of several."""
    steps = sorted({row["step"] for row in rows})
    return "" if not steps else str(steps[0]) if len(steps) == 1 else f"{steps[0]}-{steps[-1]}"


def _find(choose: Callable[[list[float]], float], rows: list[Json]) -> float | None:
    """Return the greatest or least value of some rows; None where none has a number."""
    values = [float(row["value"]) for row in rows if row["value"] is not None]
    return choose(values) if values else None
