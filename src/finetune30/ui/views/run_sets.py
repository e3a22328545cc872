"""Sets of runs, seeds and folds: what they say together, and their runs."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.layout import show_figures, show_table
from finetune30.ui.session import ask, client, t

Json = dict[str, Any]


def show() -> None:
    """Show a choice of the newest sets and the chosen one; nothing where there are none."""
    sets = ask(lambda: client().list_run_sets())
    if not sets:
        return
    names = {found["id"]: f"{found['name']} · {_purpose(found)} · {found['id'][:8]}" for found in sets}
    with st.expander(t("sets.title"), icon=":material/stacks:"):
        chosen = st.selectbox(t("sets.choose"), list(names), format_func=lambda one: display.plain(names[one], 120))
        described = ask(lambda: client().load_run_set(str(chosen)))
        if described is not None:
            _show_summary(described.get("summary"))
            _show_runs(described["runs"])


def _purpose(found: Json) -> str:
    return t(f"sets.{found['purpose']}")


def _show_summary(summary: Json | None) -> None:
    if summary is None:
        st.info(t("sets.none_finished"), icon=":material/hourglass_empty:")
        return
    interval, power = summary["interval"], summary["power"]
    ends = "" if interval is None else f"{interval['low']:.4f} – {interval['high']:.4f}"
    figures = [
        (t("sets.finished"), f"{summary['finished']} / {summary['planned']}"),
        (summary["score_name"], f"{summary['mean']:.4f}"),
        (t("sets.spread"), display.number(summary["standard_deviation"])),
        (t("sets.interval"), ends),
    ]
    if power is not None and power["visible_difference"] is not None:
        figures.append((t("sets.visible"), f"{100 * power['visible_difference']:.1f}"))
    show_figures(figures)
    if interval is not None:
        st.caption(display.plain(interval["method"], 300))


def _show_runs(runs: list[Json]) -> None:
    shown = [
        {
            t("sets.run"): display.raw(run["name"] or ""),
            t("sets.seed"): run["seed"],
            t("sets.fold"): "" if "fold" not in run else f"{run['repeat']} / {run['fold']}",
            t("sets.state"): run["status"] or t("sets.not_handed_in"),
            t("sets.score"): None if run["score"] is None else round(run["score"], 4),
        }
        for run in runs
    ]
    show_table(shown, alt=t("sets.title"), most_pixels=320)
