"""Sets of runs, seeds, folds and learning curves: what they say together, and their runs."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.layout import fold, show_figures, show_table
from finetune30.ui.scores import score_title, score_value
from finetune30.ui.session import ask, client, in_own_words, t
from finetune30.ui.set_charts import learning_curve

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
            summary = described.get("summary")
            if summary is not None and "points" in summary:
                _show_curve(summary, described)
            _show_summary(summary)
            _show_runs(described["runs"], described.get("summary") or {})


def _purpose(found: Json) -> str:
    return t(f"sets.{found['purpose']}")


def _show_curve(summary: Json, described: Json) -> None:
    """Show the answer before the figures, then the curve."""
    answer = summary["answer"]
    show = st.success if answer["verdict"] == "helps" else st.info
    show(display.plain_lines(in_own_words(answer["message"]), 800), icon=":material/gavel:")
    learning_curve(summary, described["runs"], key=f"curve-{described['id']}")
    st.caption(t("sets.curve_told"))


def _show_summary(summary: Json | None) -> None:
    if summary is None:
        st.info(t("sets.none_finished"), icon=":material/hourglass_empty:")
        return
    interval, power, name = summary["interval"], summary["power"], str(summary["score_name"])
    ends = "" if interval is None else f"{_write(summary, interval['low'])} – {_write(summary, interval['high'])}"
    figures = [
        (t("sets.finished"), f"{summary['finished']} / {summary['planned']}"),
    ]
    if summary["mean"] is not None:
        figures += [
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
            **_place(run),
            t("sets.state"): t(f"status.{run['status']}") if run["status"] else t("sets.not_handed_in"),
            t("sets.score"): score_value({**summary, **run}),
        }
        for run in runs
    ]
    show_table(shown, alt=t("sets.title"), most_pixels=320)


def _place(run: Json) -> Json:
    """Return the columns that tell a fold, or a share, from others."""
    if "fold" in run:
        return {t("sets.fold"): f"{run['repeat']} / {run['fold']}"}
    return {t("sets.training_rows"): display.number(run["rows"])} if "share" in run else {}
