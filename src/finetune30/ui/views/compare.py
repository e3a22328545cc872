"""Compare: two to eight runs side by side."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import charts, display
from finetune30.ui.layout import show_figures, show_table
from finetune30.ui.metrics import metric_value
from finetune30.ui.session import ask, client, in_own_words, t, t_or

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
    _show_verdict(compared.get("verdict") or {}, compared.get("pairs") or [], runs, names)
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
    return display.raw(f"{run['name']} · {display.percent(run.get('eval_accuracy'))} · {run_id[:8]}", 100)


def _name_runs(runs: list[Json]) -> list[str]:
    """Names for columns and lines; the id is added because names repeat."""
    return [display.raw(f"{run.get('name', '')} · {run['id'][:6]}", 60) for run in runs]


def _show_verdict(verdict: Json, pairs: list[Json], runs: list[Json], names: list[str]) -> None:
    st.subheader(t("compare.verdict"), anchor=False)
    distinguishable = verdict.get("distinguishable")
    if distinguishable is None:
        reason = in_own_words(str(verdict.get("message") or "")) or t("compare.no_verdict")
        st.info(display.plain(reason, 1000), icon=":material/info:")
        return
    if len(pairs) > 1:
        apart = sum(bool(pair.get("distinguishable")) for pair in pairs)
        conclusion = t("compare.pairs_apart", apart=apart, pairs=len(pairs))
    elif distinguishable:
        better = names[1] if verdict["difference"] > 0 else names[0]
        conclusion = t("compare.better", name=display.plain(better))
    else:
        conclusion = t("compare.not_distinguishable")
    (st.success if distinguishable else st.warning)(
        conclusion, icon=":material/check_circle:" if distinguishable else ":material/help:"
    )
    if len(pairs) > 1:
        _show_pairs(pairs, dict(zip((run["id"] for run in runs), names, strict=True)))
    elif verdict.get("difference") is not None:
        show_figures((t(f"compare.{name}"), value) for name, value in _describe_pair(verdict).items())
    st.caption(t("compare.method"))


def _show_pairs(pairs: list[Json], names: dict[str, str]) -> None:
    rows = [
        {
            t("compare.pair"): f"{names.get(pair['first'], '')} → {names.get(pair['second'], '')}",
            t("compare.apart"): t("form.yes") if pair["distinguishable"] else t("form.no"),
            **{t(f"compare.{name}"): value for name, value in _describe_pair(pair).items()},
        }
        for pair in pairs
    ]
    show_table(rows, alt=t("compare.verdict"))


def _describe_pair(pair: Json) -> dict[str, str]:
    low, high = (pair.get("interval") or [None, None])[:2]
    return {
        "difference": _points(pair.get("difference")),
        "interval": t("compare.from_to", low=_points(low), high=_points(high)),
        "p_value": display.number(pair.get("p_value_adjusted", pair.get("p_value")), 3),
        "rows": display.number(pair.get("rows")),
    }


def _points(value: Any) -> str:
    """A difference of shares in percentage points."""
    return t("unit.points", value=f"{100 * value:+.1f}") if isinstance(value, int | float) else display.NOTHING


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
            **{name: display.raw(value) for name, value in zip(names, row.get("predictions") or (), strict=False)},
            t("compare.row"): display.raw(row.get("row_id", "")),
        }
        for row in flipped
    ]
    st.caption(t("data.shown_rows", shown=display.number(len(flipped)), total=display.number(total)))
    show_table(shown, alt=t("compare.flipped"))
