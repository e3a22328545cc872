"""The trials of a search as a table, what the differences go with, and one trial whose settings can be used."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.layout import fold, show_table
from finetune30.ui.metrics import metric_value
from finetune30.ui.scores import score_title
from finetune30.ui.session import ask, client, in_own_words, t
from finetune30.ui.views import presets
from finetune30.ui.views.run_table import column_title
from finetune30.ui.views.search_plots import setting_of

Json = dict[str, Any]


def show_importance(described: Json) -> None:
    """Show what share of the differences goes with each parameter, beside what chance makes of shuffled values."""
    importance = described["importance"]
    if not importance:
        return
    part = fold(t("searches.importance"), "search-importance", ":material/bar_chart:")
    if not part.open:
        return
    shown = [
        {
            t("searches.parameter"): column_title(key),
            t("searches.share"): f"{100 * one['share']:.0f} %",
            t("searches.by_chance"): f"{100 * one['line']:.0f} %",
            t("searches.stands_out"): t("searches.yes") if one["stands_out"] else "",
        }
        for key, one in sorted(importance.items(), key=lambda item: -item[1]["share"])
    ]
    with part:
        show_table(shown, alt=t("searches.importance"), most_pixels=300)
        if not any(one["stands_out"] for one in importance.values()):
            st.caption(t("searches.nothing_stands_out"))


def show_trials(described: Json) -> None:
    """Show all trials, and one to open or to begin a submission with."""
    st.header(t("searches.trials"), anchor=False)
    varied, metric = list(described["spec"]["parameters"]), str(described["metric"])
    shown = [
        {
            t("searches.trial"): trial["number"],
            t("searches.trial_state"): _state_of(trial),
            score_title(metric): None if trial["value"] is None else round(trial["value"], 4),
            **{column_title(key): _tell(setting_of(described, trial, key)) for key in varied},
            t("searches.run"): (trial["run_id"] or "")[:8],
            t("searches.why"): display.raw(in_own_words(trial["reason"])),
        }
        for trial in described["trials"]
    ]
    show_table(shown, alt=t("searches.trials"), most_pixels=400)
    _show_chosen(described, metric)


def _show_chosen(described: Json, metric: str) -> None:
    made = {trial["number"]: trial for trial in described["trials"] if trial["run_id"]}
    if not made:
        return
    numbers, best = list(made), described["best"]
    first = numbers.index(best["number"]) if best is not None and best["number"] in made else 0
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            t("searches.choose_trial"),
            numbers,
            index=first,
            format_func=lambda number: _name(made[number], metric),
            key=f"search-trial-{described['id']}-{numbers[first]}",
            width=320,
        )
        run_id = str(made[chosen]["run_id"])
        if st.button(t("searches.use"), icon=":material/content_copy:", help=t("searches.use_help"), key="search-use"):
            run = ask(lambda: client().load_experiment(run_id))
            if run is not None:
                presets.begin_with(run["config"])
        st.page_link(
            st.session_state.pages["run"],
            label=t("action.open_run"),
            icon=":material/lab_profile:",
            query_params={"run": run_id},
        )


def _state_of(trial: Json) -> str:
    """Return the state of a trial; of an open one that of its run, which waits or trains."""
    if trial["state"] == "OPEN" and trial["run_status"]:
        return t(f"status.{trial['run_status']}")
    return t(f"searches.trial_state.{trial['state']}")


def _name(trial: Json, metric: str) -> str:
    name = t("searches.trial_name", number=trial["number"])
    return name if trial["value"] is None else f"{name} · {metric_value(metric, trial['value'])}"


def _tell(value: Any) -> str:
    """Return a value as text: a column may hold numbers, words and lists."""
    if value is None:
        return ""
    if isinstance(value, list):
        return display.raw(", ".join(map(str, value)))
    return f"{value:.4g}" if isinstance(value, float) else display.raw(str(value))
