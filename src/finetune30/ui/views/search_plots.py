"""One search in charts: each setting against the score, the best so far over luck, all settings at once."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.layout import fold
from finetune30.ui.many_charts import Axis, build_axis, parallel, scatter
from finetune30.ui.metrics import is_share
from finetune30.ui.scores import score_title
from finetune30.ui.search_charts import best_so_far
from finetune30.ui.session import in_own_words, t
from finetune30.ui.views.run_table import column_title, value_text
from finetune30.ui.views.search_verdict import size_of

Json = dict[str, Any]

#: Lines of the parallel coordinates: the best trials, and the newest of the others.
MOST_BEST, MOST_NEWEST = 100, 200


def setting_of(described: Json, trial: Json, key: str) -> Any:
    """Return what a trial has of a setting: where it does not vary it, what stands in the configuration."""
    if key in trial["parameters"]:
        return trial["parameters"][key]
    found: Any = described["config"]
    for name in key.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def show_plots(described: Json, luck: Json) -> None:
    """Show the charts of the trials that have a value; nothing before two have."""
    done = [trial for trial in described["trials"] if trial["value"] is not None]
    if len(done) < 2:
        return
    left, right = st.columns(2)
    with left:
        st.header(t("searches.settings_against_score"), anchor=False)
        keys = list(described["spec"]["parameters"])
        key = st.selectbox(t("searches.setting"), keys, format_func=column_title, key=f"search-x-{described['id']}")
        _show_scatter(described, done, str(key))
    with right:
        st.header(t("searches.best_so_far"), anchor=False)
        _show_best_so_far(described, luck)
    part = fold(t("searches.parallel"), "search-parallel", ":material/timeline:")
    if part.open:
        with part:
            _show_parallel(described, done)


def _show_scatter(described: Json, done: list[Json], key: str) -> None:
    best = described["best"]["number"]
    kinds = {best: t("searches.which.best"), 0: t("searches.which.default")}
    group = build_axis(t("searches.which"), [kinds.get(one["number"], t("searches.which.other")) for one in done])
    scatter(_names(done), _axis(described, done, key), _score(described, done), group, key="search-scatter")


def _show_best_so_far(described: Json, luck: Json) -> None:
    band = luck.get("band") or []
    best_so_far(
        _score(described, described["trials"]),
        band,
        luck.get("default"),
        greater=bool(described["greater_is_better"]),
        key="search-best",
    )
    if band:
        parts = t("searches.by_rows_and_seeds" if luck["with_seeds"] else "searches.by_rows")
        st.caption(t("searches.band_told", noise=size_of(str(described["metric"]), luck["noise"]), parts=parts))
    elif luck.get("reason"):
        st.caption(t("searches.no_band", reason=display.plain(in_own_words(luck["reason"]), 300)))


def _show_parallel(described: Json, done: list[Json]) -> None:
    drawn = _choose_lines(described, done)
    if len(drawn) < len(done):
        st.caption(t("searches.most_lines", shown=len(drawn), total=len(done)))
    axes = [_axis(described, drawn, key) for key in described["spec"]["parameters"]]
    parallel(_names(drawn), [*axes, _score(described, drawn)], key="search-lines")


def _choose_lines(described: Json, done: list[Json]) -> list[Json]:
    sign = -1 if described["greater_is_better"] else 1
    ranked = sorted(done, key=lambda one: (sign * one["value"], one["number"]))
    others = sorted(ranked[MOST_BEST:], key=lambda one: -int(one["number"]))[:MOST_NEWEST]
    return sorted([*ranked[:MOST_BEST], *others], key=lambda one: int(one["number"]))


def _names(trials: list[Json]) -> list[str]:
    return [t("searches.trial_name", number=trial["number"]) for trial in trials]


def _score(described: Json, trials: list[Json]) -> Axis:
    metric = str(described["metric"])
    return build_axis(score_title(metric), [trial["value"] for trial in trials], is_share=is_share(metric))


def _axis(described: Json, trials: list[Json], key: str) -> Axis:
    values = [setting_of(described, trial, key) for trial in trials]
    if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        is_log = described["spec"]["parameters"][key].get("scale") == "log"
        return build_axis(column_title(key), values)._replace(log=is_log or None)
    return build_axis(column_title(key), [value_text(key, value) for value in values])
