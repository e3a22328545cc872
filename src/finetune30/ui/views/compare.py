"""Compare: two to eight runs side by side."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import streamlit as st

from finetune30.ui import curves, display, history
from finetune30.ui.layout import show_table
from finetune30.ui.metrics import metric_value
from finetune30.ui.scores import score_value
from finetune30.ui.session import ask, client, t, t_or
from finetune30.ui.stand_ins import in_short
from finetune30.ui.views import compared_answers, run_sets, test_verdicts, verdicts

Json = dict[str, Any]

FEWEST, MOST = 2, 8
OFFERED = 200
#: Of a name; longer ones are cut before they are told apart.
NAME_CHARACTERS = 50
_FULL_ID = re.compile("[0-9a-f]{32}")
CURVES = ("loss", "learning_rate", "eval_loss", "eval_accuracy")


def show() -> None:
    """Show the page."""
    st.title(t("compare.title"), anchor=False)
    run_sets.show()
    ids = _choose_runs()
    if len(ids) < FEWEST:
        st.info(t("compare.empty"), icon=":material/compare_arrows:")
        return
    compared = ask(lambda: client().compare(ids))
    if compared is None:
        return
    runs = compared.get("runs") or []
    names = _name_runs(runs)
    named = dict(zip((run["id"] for run in runs), names, strict=True))
    for run, name in zip(runs, names, strict=True):
        if short := in_short(run):
            st.warning(display.plain(f"{name}: {short}", 400), icon=":material/swap_horiz:")
    verdicts.show(compared, named)
    compared_answers.show(compared.get("answers") or {}, named)
    if len(runs) == FEWEST:
        test_verdicts.show(runs[0]["id"], runs[1]["id"], named)
    _show_metrics(compared.get("metrics") or {}, compared.get("metrics_best") or {}, names)
    _show_settings(compared.get("config_difference") or {}, names)
    _show_curves(runs, names)
    _show_data(compared.get("data_difference") or {}, names)
    if compared.get("flipped") or not (compared.get("answers") or {}).get("pairs"):
        _show_flipped(compared.get("flipped") or [], int(compared.get("flipped_total") or 0), names)


def _choose_runs() -> list[str]:
    """Runs from the address, or chosen among the newest finished ones."""
    address = [part for part in st.query_params.get("ids", "").split(",") if part][:MOST]
    found = ask(lambda: client().find_experiments(status=["SUCCEEDED"], limit=OFFERED))
    offered = {run["id"]: run for run in found[0]} if found else {}
    if st.session_state.get("compare_address") != address:
        st.session_state.compare_address = address
        st.session_state.compare_choice = address
    chosen: list[str] = st.multiselect(
        t("compare.choose"),
        list(dict.fromkeys([*address, *offered])),
        format_func=lambda run_id: _describe(offered.get(run_id), run_id),
        max_selections=MOST,
        key="compare_choice",
        placeholder=t("compare.choose_hint"),
    )
    if chosen != address:
        st.session_state.compare_address = chosen
        st.query_params["ids"] = ",".join(chosen)
    return chosen


def _describe(run: Json | None, run_id: str) -> str:
    if run is None:
        return run_id[:8] if _FULL_ID.fullmatch(run_id) else display.raw(run_id, 100)  # a name, or a model's version
    return display.raw(f"{run['name']} · {score_value(run)} · {run_id[:8]}", 100)


def _name_runs(runs: list[Json]) -> list[str]:
    """Names for columns and lines; the id is added to those that look alike once they are cut."""
    short = [display.raw(run.get("name", ""), NAME_CHARACTERS) for run in runs]
    often = Counter(short)
    return [f"{name} · {run['id'][:6]}" if often[name] > 1 else name for name, run in zip(short, runs, strict=True)]


def _show_metrics(metrics: Json, best: Mapping[str, list[bool]], names: list[str]) -> None:
    """Show metrics by run, the best of those that were measured on the same rows in bold."""
    st.header(t("compare.metrics"), anchor=False)
    shown = {
        t("compare.metric"): [t_or(f"metric.{key}", display.raw(key)) for key in metrics],
        **{
            name: [metric_value(key, values[place]) for key, values in metrics.items()]
            for place, name in enumerate(names)
        },
    }
    bold = [
        (row, place + 1)
        for row, key in enumerate(metrics)
        for place, is_best in enumerate(best.get(key, ()))
        if is_best
    ]
    show_table(shown, alt=t("compare.metrics"), bold=bold)
    if bold:
        st.caption(t("compare.best_bold"))


def _show_settings(differing: Json, names: list[str]) -> None:
    st.header(t("compare.config"), anchor=False)
    if not differing:
        st.caption(t("compare.same"))
        return
    shown = [
        {t("compare.key"): display.raw(key), **{name: _cell(value) for name, value in zip(names, values, strict=False)}}
        for key, values in differing.items()
    ]
    show_table(shown, alt=t("compare.config"))


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return display.NOTHING if value is None else str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(_cell, value)) or display.NOTHING
    return display.number(value) if isinstance(value, int | float) else display.raw(value)


def _show_curves(runs: list[Json], names: list[str]) -> None:
    st.header(t("compare.curves"), anchor=False)
    histories = {
        name: (ask(lambda run=run: client().load_history(run["id"])) or {}).get("records", [])  # type: ignore[misc]
        for name, run in zip(names, runs, strict=True)
    }
    axis = st.segmented_control(
        t("run.axis"),
        history.AXES,
        default="step",
        required=True,
        format_func=lambda name: t(f"axis.{name}"),
        key="compare_axis",
    )
    curves.show_legend(names)
    places = [place for _ in range(0, len(CURVES), 2) for place in st.columns(2)]
    for place, value in zip(places, CURVES, strict=False):
        with place:
            title = t(f"metric.{value}")
            curves.show_overlaid(histories, value, title=title, axis=str(axis), key=f"compare-{value}")
    st.caption(t("curves.hint"))


def _show_data(difference: Json, names: list[str]) -> None:
    st.header(t("compare.data"), anchor=False)
    if difference.get("same") or not difference:
        st.caption(t("compare.same_data"))
        return
    rows = []
    for name, found in zip(names[1:], difference.get("from_first") or (), strict=False):
        counts = (found or {}).get("counts")
        if counts:
            shown = {t(f"diff.{kind}"): display.number(count) for kind, count in counts.items()}
            rows.append({t("compare.pair"): f"{names[0]} → {name}", **shown})
    st.info(t("compare.other_data"), icon=":material/difference:")
    if rows:
        show_table(rows, alt=t("compare.data"))


def _show_flipped(flipped: list[Json], total: int, names: list[str]) -> None:
    st.header(t("compare.flipped"), anchor=False)
    if not flipped:
        st.caption(t("compare.none_flipped"))
        return
    shown = [
        {
            t("compare.text"): display.raw(row.get("text") or "", 400),
            t("compare.label"): display.raw(row.get("label", "")),
            **dict(zip(names, _answers(row), strict=False)),
            t("compare.row"): display.raw(row.get("row_id", "")),
        }
        for row in flipped
    ]
    st.caption(t("data.shown_rows", shown=display.number(len(flipped)), total=display.number(total)))
    show_table(shown, alt=t("compare.flipped"))


def _answers(row: Json) -> list[str]:
    """What every run predicted, with the loss of the row where it has one; nothing of runs that did not answer it."""
    predictions = row.get("predictions") or []
    shown = []
    for prediction, outcome in zip(predictions, row.get("outcomes") or [True] * len(predictions), strict=False):
        text = _cell(prediction) if outcome is not None else display.NOTHING
        has_loss = isinstance(outcome, int | float) and not isinstance(outcome, bool)
        shown.append(f"{text} ({display.number(outcome, 3)})" if has_loss else text)
    return shown
