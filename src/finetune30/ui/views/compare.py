"""Compare: two to eight runs side by side."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from finetune30.ui import charts, display
from finetune30.ui.session import ask, client, t

Json = dict[str, Any]

FEWEST, MOST = 2, 8
OFFERED = 200
CURVES = ("loss", "learning_rate", "eval_loss", "eval_accuracy")


def show() -> None:
    """Show the page."""
    st.title(t("compare.title"))
    ids = _choose_runs()
    if len(ids) < FEWEST:
        st.info(t("compare.empty"), icon=":material/compare_arrows:")
        return
    compared = ask(lambda: client().compare(ids))
    if compared is None:
        return
    runs = compared.get("runs") or []
    names = _name_runs(runs)
    _show_verdict(compared.get("verdict") or {})
    _show_table(t("compare.metrics"), compared.get("metrics") or {}, names, t("compare.metric"))
    _show_table(t("compare.config"), compared.get("config_difference") or {}, names, t("compare.key"))
    _show_curves(runs, names)
    _show_data(compared.get("data_difference") or {})
    _show_flipped(compared.get("flipped") or [], names)


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
    return display.raw(f"{run['name']} · {display.percent(run.get('eval_accuracy'))} · {run_id[:8]}", 100)


def _name_runs(runs: list[Json]) -> list[str]:
    """Names for columns and lines; the id is added because names repeat."""
    return [display.raw(f"{run.get('name', '')} · {run['id'][:6]}", 60) for run in runs]


def _show_verdict(verdict: Json) -> None:
    st.subheader(t("compare.verdict"))
    message = display.plain(verdict.get("message") or t("compare.no_verdict"), 1000)
    distinguishable = verdict.get("distinguishable")
    if distinguishable is True:
        st.success(f"**{t('compare.distinguishable')}** {message}", icon=":material/check_circle:")
    elif distinguishable is False:
        st.warning(f"**{t('compare.not_distinguishable')}** {message}", icon=":material/help:")
    else:
        st.info(message, icon=":material/info:")
    if verdict.get("difference") is None:
        return
    low, high = (verdict.get("interval") or [None, None])[:2]
    facts = (
        ("difference", _points(verdict.get("difference"))),
        ("interval", f"{_points(low)} … {_points(high)}"),
        ("p_value", display.number(verdict.get("p_value"), 3)),
    )
    for place, (name, value) in zip(st.columns(3), facts, strict=True):
        place.metric(t(f"compare.{name}"), value, border=True)


def _points(value: Any) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * value:+.1f} %" if isinstance(value, int | float) else display.NOTHING


def _show_table(title: str, rows: Json, names: list[str], first: str) -> None:
    st.subheader(title)
    if not rows:
        st.caption(t("compare.same"))
        return
    frame = pd.DataFrame(
        [
            {first: display.raw(key), **{name: _cell(value) for name, value in zip(names, values, strict=False)}}
            for key, values in rows.items()
        ]
    )
    st.dataframe(frame, hide_index=True)


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return display.NOTHING if value is None else str(value).lower()
    return display.number(value) if isinstance(value, int | float) else display.raw(value)


def _show_curves(runs: list[Json], names: list[str]) -> None:
    st.subheader(t("compare.curves"))
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
            charts.overlaid(series, value, title=value, axis=str(axis), key=f"compare-{value}")


def _show_data(difference: Json) -> None:
    st.subheader(t("compare.data"))
    counts = difference.get("counts")
    if difference.get("same") or not difference:
        st.caption(t("compare.same_data"))
    elif counts:
        st.dataframe(pd.DataFrame([{t(f"diff.{kind}"): count for kind, count in counts.items()}]), hide_index=True)
    else:
        st.info(display.plain(difference.get("message") or t("compare.other_data"), 500))


def _show_flipped(flipped: list[Json], names: list[str]) -> None:
    st.subheader(t("compare.flipped"))
    if not flipped:
        st.caption(t("compare.none_flipped"))
        return
    frame = pd.DataFrame(
        [
            {
                t("compare.row"): display.raw(row.get("row_id", "")),
                t("compare.text"): display.raw(row.get("text") or "", 400),
                t("compare.label"): display.raw(row.get("label", "")),
                **{name: display.raw(value) for name, value in zip(names, row.get("predictions") or (), strict=False)},
            }
            for row in flipped
        ]
    )
    st.caption(t("compare.flipped_count", count=len(flipped)))
    st.dataframe(frame, hide_index=True)
