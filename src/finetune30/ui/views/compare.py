"""Compare: two to eight runs side by side."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import charts, display
from finetune30.ui.layout import show_table
from finetune30.ui.metrics import metric_value
from finetune30.ui.scores import score_value
from finetune30.ui.session import ask, client, t, t_or
from finetune30.ui.stand_ins import in_short
from finetune30.ui.views import verdicts

Json = dict[str, Any]

FEWEST, MOST = 2, 8
OFFERED = 200
CURVES = ("loss", "learning_rate", "eval_loss", "eval_accuracy")


def show() -> None:
    """Show the page."""
    st.title(t("compare.title"), anchor=False)
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
    _show_table(t("compare.metrics"), compared.get("metrics") or {}, names, t("compare.metric"), metrics=True)
    _show_table(t("compare.config"), compared.get("config_difference") or {}, names, t("compare.key"))
    _show_curves(runs, names)
    _show_data(compared.get("data_difference") or {}, names)
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
        return run_id[:8]
    return display.raw(f"{run['name']} · {score_value(run)} · {run_id[:8]}", 100)


def _name_runs(runs: list[Json]) -> list[str]:
    """Names for columns and lines; the id is added because names repeat."""
    return [display.raw(f"{run.get('name', '')} · {run['id'][:6]}", 60) for run in runs]


def _show_table(title: str, rows: Json, names: list[str], first: str, *, metrics: bool = False) -> None:
    st.subheader(title, anchor=False)
    if not rows:
        st.caption(t("compare.same"))
        return
    shown = [
        {
            first: t_or(f"metric.{key}", display.raw(key)) if metrics else display.raw(key),
            **{
                name: metric_value(key, value) if metrics else _cell(value)
                for name, value in zip(names, values, strict=False)
            },
        }
        for key, values in rows.items()
    ]
    show_table(shown, alt=title)


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return display.NOTHING if value is None else str(value).lower()
    return display.number(value) if isinstance(value, int | float) else display.raw(value)


def _show_curves(runs: list[Json], names: list[str]) -> None:
    st.subheader(t("compare.curves"), anchor=False)
    histories = {
        name: (ask(lambda run=run: client().load_history(run["id"])) or {}).get("records", [])  # type: ignore[misc]
        for name, run in zip(names, runs, strict=True)
    }
    axis = st.segmented_control(
        t("run.axis"),
        charts.AXES,
        default="step",
        required=True,
        format_func=lambda name: t(f"axis.{name}"),
        key="compare_axis",
    )
    places = st.columns(2)
    for number, value in enumerate(CURVES):
        kind = "eval" if value.startswith("eval_") else "train"
        series = {name: [r for r in records if r.get("type") == kind] for name, records in histories.items()}
        with places[number % 2]:
            charts.overlaid(series, value, title=t(f"metric.{value}"), axis=str(axis), key=f"compare-{value}")


def _show_data(difference: Json, names: list[str]) -> None:
    st.subheader(t("compare.data"), anchor=False)
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
    st.subheader(t("compare.flipped"), anchor=False)
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
