"""Sets of runs, seeds and folds: what they say together, and their runs."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.layout import fold, show_figures, show_table
from finetune30.ui.scores import score_title, score_value
from finetune30.ui.session import ask, client, t

Json = dict[str, Any]


def show() -> None:
    """Show a choice of the newest sets and the chosen one; nothing where there are none."""
    sets = ask(lambda: client().list_run_sets())
    if not sets:
        return
    names = {found["id"]: f"{found['name']} · {_purpose(found)} · {found['id'][:8]}" for found in sets}
    part = fold(t("sets.title"), "compare-sets", ":material/stacks:")
    if not part.open:
        return
    with part:
        chosen = st.selectbox(t("sets.choose"), list(names), format_func=lambda one: display.plain(names[one], 120))
        described = ask(lambda: client().load_run_set(str(chosen)))
        if described is not None:
            _show_summary(described.get("summary"))
            _show_runs(described["runs"], described.get("summary") or {})


def _purpose(found: Json) -> str:
    return t(f"sets.{found['purpose']}")


def _show_summary(summary: Json | None) -> None:
    if summary is None:
        st.info(t("sets.none_finished"), icon=":material/hourglass_empty:")
        return
    interval, power, name = summary["interval"], summary["power"], str(summary["score_name"])
    ends = "" if interval is None else f"{_write(summary, interval['low'])} – {_write(summary, interval['high'])}"
    figures = [
        (t("sets.finished"), f"{summary['finished']} / {summary['planned']}"),
        (score_title(name), _write(summary, summary["mean"])),
        (t("sets.spread"), _write_spread(summary)),
        (t("sets.interval"), ends),
    ]
    if power is not None and power["visible_difference"] is not None:
        points = t("unit.points", value=f"{100 * power['visible_difference']:.1f}")
        figures.append((t("sets.visible"), points))
    show_figures(figures)
    if interval is not None:
        st.caption(display.plain(interval["method"], 300))


def _write(summary: Json, score: float) -> str:
    return score_value({**summary, "score": score})


def _write_spread(summary: Json) -> str:
    deviation = summary["standard_deviation"]
    if deviation is None or summary["score_format"] != "percent":
        return display.number(deviation)
    return t("unit.points", value=f"{100 * deviation:.2f}")


def _show_runs(runs: list[Json], summary: Json) -> None:
    shown = [
        {
            t("sets.run"): display.raw(run["name"] or ""),
            t("sets.seed"): run["seed"],
            t("sets.fold"): "" if "fold" not in run else f"{run['repeat']} / {run['fold']}",
            t("sets.state"): t(f"status.{run['status']}") if run["status"] else t("sets.not_handed_in"),
            t("sets.score"): score_value({**summary, **run}),
        }
        for run in runs
    ]
    show_table(shown, alt=t("sets.title"), most_pixels=320)
