"""Part of a run: its results piece by piece, whether a repetition came out the same, where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.blocks import show_blocks
from finetune30.ui.layout import fold, show_table
from finetune30.ui.metrics import metric_value
from finetune30.ui.session import t, t_or
from finetune30.ui.states import FINAL
from finetune30.ui.views import why

Json = dict[str, Any]

PLAIN_NUMBER = (int, float)


def show(run: Json) -> None:
    """Show the part of a run."""
    metrics = run.get("metrics") or {}
    if not metrics:
        key = "run.never_results" if run["status"] in FINAL else "run.no_results"
        st.info(t(key), icon=":material/hourglass_empty:")
        return
    if run.get("replay"):
        _show_replay(run["replay"])
    show_blocks(run.get("blocks") or (), str(run["id"]), _on_press(run))
    numbers = fold(t("run.numbers"), "run-numbers")
    if numbers.open:
        with numbers:
            _show_numbers(metrics)
    _show_lineage(run)


def _show_numbers(metrics: Json) -> None:
    shown = [
        {t("run.metric"): t_or(f"metric.{name}", name), t("run.value"): metric_value(name, value)}
        for name, value in metrics.items()
        if isinstance(value, PLAIN_NUMBER) and not isinstance(value, bool)
    ]
    show_table(shown, alt=t("run.metric"), most_pixels=320)


def _show_replay(report: Json) -> None:
    """Whether a repetition came out as the run that it repeats, and what differs."""
    names = {"run": str(report["replay_of"])[:8]}
    if report["identical"] is None:
        st.warning(t("run.replay_fault", **names), icon=":material/question_mark:")
        return
    if report["identical"]:
        st.success(t("run.replay_identical", **names), icon=":material/verified:")
        return
    same = report["same_environment"]
    st.error(t("run.replay_differs" if same else "run.replay_elsewhere", **names), icon=":material/difference:")
    weights = [{"what": "tensors", "difference": name} for name in report["tensors"]]
    others = [
        {"what": part, "difference": line}
        for part in ("environment", "inputs", "states", "history", "metrics", "predictions")
        for line in report[part]
    ]
    shown = [
        {
            t("run.replay_part"): t(f"run.replay_{row['what']}"),
            t("run.replay_difference"): display.raw(row["difference"]),
        }
        for row in (*others, *weights)
    ]
    show_table(shown, alt=t("run.replay_difference"), most_pixels=320)


def _on_press(run: Json) -> Callable[[Json], None] | None:
    """Return what takes a press on a cell or bar to the rows that it counts."""
    if run["status"] != "SUCCEEDED":
        return None

    def press(wanted: Json) -> None:
        why.narrow(str(run["id"]), wanted)
        st.session_state.run_part = "errors"

    return press


def _show_lineage(run: Json) -> None:
    """Data version -> run -> model."""
    st.markdown(f"**{t('run.lineage')}**")
    digest = run.get("dataset_digest")
    steps = (
        (t("run.lineage_data"), f"{display.file_name(run.get('dataset_name'))} · {(digest or display.NOTHING)[:16]}"),
        (t("run.lineage_run"), f"{run['folder']} · {run['id'][:8]}"),
        (
            t("run.lineage_model"),
            f"{display.file_name(run.get('model_name'))} · {(run.get('manifest_sha256') or display.NOTHING)[:16]}",
        ),
    )
    for place, (name, value) in zip(st.columns(3), steps, strict=True):
        with place.container(border=True, height="stretch"):
            st.caption(name)
            st.text(display.raw(value, 120))
