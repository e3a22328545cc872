"""Marked runs (all of the page where none is) in one plot: what they were told against what came out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from finetune30.ui.layout import fold
from finetune30.ui.many_charts import Axis, build_axis, parallel, scatter
from finetune30.ui.metrics import is_share
from finetune30.ui.session import t
from finetune30.ui.views.run_table import METRICS, column_title, value_text

Json = dict[str, Any]

FEWEST = 2
KINDS = ("scatter", "parallel")
#: Metrics that people ask for first; the first that the runs have is the one that is shown.
_WANTED = ("eval_accuracy", "eval_f1", "eval_mse", "eval_loss")
_MOST_AXES = 5
_DIGEST = "dataset_digest"


def show_plots(runs: Sequence[Json], page: Json, *, are_marked: bool) -> None:
    """Show the plots, folded at first."""
    if len(runs) < FEWEST:
        return
    part = fold(t("plots.title"), "experiments_plots", ":material/scatter_plot:")
    if not part.open:
        return
    with part:
        told = t("plots.of_marked", count=len(runs)) if are_marked else t("plots.of_page", count=len(runs))
        st.caption(told)
        metrics = sorted(map(str, page.get("metrics") or ()), key=_rank)
        settings = [str(key) for key in page.get("differing") or ()]
        if not metrics:
            st.caption(t("plots.no_metrics"))
            return
        kind = st.segmented_control(
            t("plots.kind"), KINDS, default=KINDS[0], required=True, format_func=lambda name: t(f"plots.{name}"),
            key="plots_kind", label_visibility="collapsed",
        )  # fmt: skip
        if kind == "scatter":
            _show_scatter(runs, [*settings, *metrics], metrics)
        else:
            _show_parallel(runs, settings, metrics)


def _rank(key: str) -> tuple[int, str]:
    name = key.removeprefix(METRICS)
    return (_WANTED.index(name) if name in _WANTED else len(_WANTED)), name


def _show_scatter(runs: Sequence[Json], everything: Sequence[str], metrics: Sequence[str]) -> None:
    first, second, third = st.columns(3)
    with first:
        across = st.selectbox(t("plots.across"), everything, format_func=column_title, key="plots_across")
    with second:
        upwards = st.selectbox(t("plots.upwards"), metrics, format_func=column_title, key="plots_upwards")
    groups = [_DIGEST, *(key for key in everything if not key.startswith(METRICS))]
    with third:
        group = st.selectbox(t("plots.group"), groups, format_func=_group_title, key="plots_group")
    names = [str(run["name"]) for run in runs]
    scatter(names, _axis(runs, across), _axis(runs, upwards), _axis(runs, group), key="plot-scatter")


def _show_parallel(runs: Sequence[Json], settings: Sequence[str], metrics: Sequence[str]) -> None:
    options = [*settings, *metrics]
    chosen = st.multiselect(
        t("plots.axes"),
        options,
        [*settings[:_MOST_AXES], metrics[0]],
        format_func=column_title,
        key=f"plots_axes-{'-'.join(options)}",
        help=t("plots.axes_help"),
    )
    if len(chosen) < FEWEST:
        st.caption(t("plots.two_axes"))
        return
    parallel([str(run["name"]) for run in runs], [_axis(runs, key) for key in chosen], key="plot-parallel")


def _group_title(key: str) -> str:
    return t("column.data") if key == _DIGEST else column_title(key)


def _axis(runs: Sequence[Json], key: str) -> Axis:
    if key == _DIGEST:
        return build_axis(t("column.data"), [str(run.get(_DIGEST) or "–")[:12] for run in runs])
    values = [(run.get("values") or {}).get(key) for run in runs]
    if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        share = key.startswith(METRICS) and is_share(key.removeprefix(METRICS))
        return build_axis(column_title(key), values, is_share=share)
    return build_axis(column_title(key), [value_text(key, value) for value in values])
