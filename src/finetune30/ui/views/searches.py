"""Searches: their trials with the values that were tried, and the best of them."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.layout import fold, show_figures, show_table
from finetune30.ui.metrics import metric_value
from finetune30.ui.scores import score_title
from finetune30.ui.session import ask, client, t

Json = dict[str, Any]


def show() -> None:
    """Show a choice of the newest searches and the chosen one; nothing where there are none."""
    found = ask(lambda: client().list_searches())
    if not found:
        return
    names = {one["id"]: f"{one['name']} · {one['spec']['sampler']} · {one['id'][:8]}" for one in found}
    part = fold(t("searches.title"), "compare-searches", ":material/search_insights:")
    if not part.open:
        return
    with part:
        chosen = st.selectbox(t("searches.choose"), list(names), format_func=lambda one: display.plain(names[one], 120))
        described = ask(lambda: client().load_search(str(chosen)))
        if described is not None:
            _show_summary(described)
            _show_trials(described)


def _show_summary(described: Json) -> None:
    best, planned, metric = described["best"], described["planned"], str(described["metric"])
    ended = sum(count for state, count in described["counts"].items() if state != "OPEN")
    show_figures(
        [
            (t("searches.state"), t(f"searches.state.{described['status']}")),
            (t("searches.ended"), str(ended) if planned is None else f"{ended} / {planned}"),
            (score_title(metric), metric_value(metric, best and best["value"])),
            (t("searches.best"), "" if best is None else str(best["number"])),
            (t("searches.hours"), f"{described['hours']:.2f}"),
        ]
    )
    if described["reason"]:
        st.info(display.plain(described["reason"], 400), icon=":material/info:")
    if best is not None:
        st.caption(t("searches.luck"))


def _show_trials(described: Json) -> None:
    varied, metric = list(described["spec"]["parameters"]), str(described["metric"])
    shown = [
        {
            t("searches.trial"): trial["number"],
            t("searches.trial_state"): t(f"searches.trial_state.{trial['state']}"),
            score_title(metric): None if trial["value"] is None else round(trial["value"], 4),
            **{key: _tell(trial["parameters"].get(key)) for key in varied},
            t("searches.run"): (trial["run_id"] or "")[:8],
            t("searches.why"): display.raw(trial["reason"]),
        }
        for trial in described["trials"]
    ]
    show_table(shown, alt=t("searches.title"), most_pixels=400)


def _tell(value: Any) -> str:
    """Return a value as text: a column may hold numbers, words and lists."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else display.raw(str(value))
