"""Experiments: the record of all runs, filtered and sorted by the API, page by page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from finetune30.ui import charts, display
from finetune30.ui.client import ApiClient, ApiUnreachableError
from finetune30.ui.layout import show_figures, table_pixels
from finetune30.ui.session import ask, client, local_time, lost, t

Json = dict[str, Any]

PAGE_ROWS = 50
LIVE_SECONDS = 2
STATUSES = ("QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED")
SORTS = ("created_at", "name", "train_runtime", "eval_accuracy")
LIVE = ("QUEUED", "RUNNING")
MOST_COMPARED = 8
#: Rows of one request while downloading, and the most that one download holds.
DOWNLOAD_ROWS = 1000
MOST_DOWNLOADED = 100_000
DOWNLOAD_COLUMNS = (
    "id",
    "name",
    "status",
    "created_at",
    "started_at",
    "finished_at",
    "model_name",
    "dataset_name",
    "dataset_digest",
    "device",
    "precision",
    "train_runtime",
    "eval_accuracy",
    "eval_f1",
    "eval_loss",
    "attempt",
    "folder",
)


def show() -> None:
    """Show the page."""
    st.title(t("experiments.title"), anchor=False)
    _show_statistics()
    filters = _choose_filters()
    cursors = _cursors(filters)
    found = ask(lambda: client().find_experiments(**filters, limit=PAGE_ROWS, cursor=cursors[-1]))
    if found is None:
        return
    if not found[0] and len(cursors) == 1:
        _show_nothing(bool(filters.keys() - {"sort_by", "desc"}))
        return
    st.session_state.experiments_fresh = found[0]
    is_live = any(run["status"] in LIVE for run in found[0])
    st.fragment(_show_table, run_every=LIVE_SECONDS if is_live else None)(filters, cursors[-1])
    _show_paging(cursors, found[1])
    left, right = st.columns(2)
    with left:
        accuracy = t("experiments.trend_accuracy")
        charts.trend(found[0], "eval_accuracy", title=accuracy, form=".0%", key="experiments-accuracy")
    with right:
        runtime = t("experiments.trend_runtime")
        charts.trend(found[0], "train_runtime", title=runtime, form="~s", key="experiments-runtime")
    _show_downloads(filters)


def _show_statistics() -> None:
    stats = ask(lambda: client().load_statistics())
    if stats is None:
        return
    by_status = stats.get("by_status") or {}
    facts = (
        ("total", display.number(stats.get("total"))),
        ("running", display.number(by_status.get("RUNNING", 0))),
        ("succeeded", display.number(by_status.get("SUCCEEDED", 0))),
        ("failed", display.number(by_status.get("FAILED", 0))),
        ("best", display.percent(stats.get("best_accuracy"))),
        ("runtime", display.duration(stats.get("mean_runtime_seconds"))),
    )
    show_figures((t(f"experiments.{name}"), value) for name, value in facts)
    days = stats.get("last_30_days") or {}
    if days:
        with st.expander(t("experiments.last_30_days"), icon=":material/bar_chart:"):
            charts.daily(days, title=t("experiments.last_30_days"), key="experiments-daily")


def _choose_filters() -> Json:
    """Return the query parameters that the person chose; kept while they visit other pages."""
    first = st.columns([3, 3, 2, 2], vertical_alignment="bottom")
    name = first[0].text_input(
        t("experiments.name"), key="filter_name", max_chars=200, icon=":material/search:", persist_state="session"
    )
    status = first[1].multiselect(
        t("experiments.status"),
        STATUSES,
        format_func=lambda value: t(f"status.{value}"),
        key="filter_status",
        placeholder=t("experiments.any"),
        persist_state="session",
    )
    sort_by = first[2].selectbox(
        t("experiments.sort_by"),
        SORTS,
        format_func=lambda value: t(f"sort.{value}"),
        key="filter_sort",
        persist_state="session",
    )
    descending = first[3].toggle(t("experiments.descending"), True, key="filter_desc", persist_state="session")
    chosen = {"name": name.strip(), "status": status, **_choose_more()}
    kept = {key: value for key, value in chosen.items() if value not in (None, "", [])}
    return {**kept, "sort_by": sort_by, "desc": "true" if descending else "false"}


def _choose_more() -> Json:
    """The filters that are needed less often, folded while none of them is set."""
    with st.expander(t("experiments.filters"), expanded=_any_set(), icon=":material/filter_list:"):
        second = st.columns(4)
        accuracy = second[0].number_input(
            t("experiments.min_accuracy"), 0.0, 100.0, None, 1.0, key="filter_accuracy", persist_state="session"
        )
        runtime = second[1].number_input(
            t("experiments.max_runtime"), 0.0, None, None, 10.0, key="filter_runtime", persist_state="session"
        )
        start = second[2].date_input(t("experiments.start_date"), None, key="filter_start", persist_state="session")
        end = second[3].date_input(t("experiments.end_date"), None, key="filter_end", persist_state="session")
        third = st.columns(2)
        model = third[0].text_input(t("experiments.model"), key="filter_model", max_chars=500, persist_state="session")
        digest = third[1].text_input(t("experiments.data"), key="filter_data", max_chars=128, persist_state="session")
    return {
        "min_accuracy": None if accuracy is None else accuracy / 100,
        "max_runtime": runtime,
        "start_date": _day(start),
        "end_date": _day(end + timedelta(days=1)) if isinstance(end, date) else None,
        "model": model.strip(),
        "dataset_digest": digest.strip().lower(),
    }


def _any_set() -> bool:
    names = ("accuracy", "runtime", "start", "end", "model", "data")
    return any(st.session_state.get(f"filter_{name}") not in (None, "") for name in names)


def _day(day: Any) -> str | None:
    """The first moment of a local day, for the API."""
    if not isinstance(day, date):
        return None
    zone = ZoneInfo(st.context.timezone) if st.context.timezone else UTC
    return datetime.combine(day, time(), zone).astimezone(UTC).isoformat()


def _cursors(filters: Json) -> list[str | None]:
    """The cursors of the pages gone through so far; another question starts at the first page."""
    if st.session_state.get("experiments_question") != filters:
        st.session_state.experiments_question = filters
        st.session_state.experiments_cursors = [None]
    cursors: list[str | None] = st.session_state.experiments_cursors
    return cursors


def _show_table(filters: Json, cursor: str | None) -> None:
    runs = _load_page(filters, cursor)
    st.caption(t("experiments.select_hint"))
    event = st.dataframe(
        _frame(runs),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key=f"experiments-table-{cursor}",
        height=table_pixels(len(runs), 560),
        placeholder=display.NOTHING,
        column_config={
            t("column.accuracy"): st.column_config.NumberColumn(format="%.1f %%"),
            t("column.progress"): st.column_config.ProgressColumn(format="%.0f %%", min_value=0, max_value=100),
        },
        alt=t("experiments.title"),
    )
    chosen = [runs[row]["id"] for row in event.selection.rows if row < len(runs)]
    _show_choice(chosen)
    was_live = st.session_state.get("experiments_live", False)
    st.session_state.experiments_live = any(run["status"] in LIVE for run in runs)
    if was_live and not st.session_state.experiments_live:
        st.rerun()  # the last run ended: totals change, and nothing needs refreshing any more


def _load_page(filters: Json, cursor: str | None) -> list[Json]:
    """The runs of this page: those just asked for, later asked anew; while the API is away, those seen last."""
    fresh: list[Json] | None = st.session_state.pop("experiments_fresh", None)
    if fresh is not None:
        st.session_state.experiments_seen = fresh
        return fresh
    try:
        found = ask(lambda: client().find_experiments(**filters, limit=PAGE_ROWS, cursor=cursor))
    except ApiUnreachableError as error:
        lost(error)
        found = None
    if found is not None:
        st.session_state.experiments_seen = found[0]
    seen: list[Json] = st.session_state.get("experiments_seen", [])
    return seen


def _frame(runs: list[Json]) -> pd.DataFrame:
    rows = [
        {
            t("column.name"): display.raw(run["name"], 80),
            t("column.status"): t(f"status.{run['status']}"),
            t("column.progress"): _share(run),
            t("column.accuracy"): None if run.get("eval_accuracy") is None else 100 * run["eval_accuracy"],
            t("column.loss"): run.get("eval_loss"),
            t("column.runtime"): display.duration(run.get("train_runtime")),
            t("column.created"): local_time(run["created_at"]),
            t("column.model"): display.raw(run.get("model_name") or "", 60),
            t("column.data"): display.raw((run.get("dataset_digest") or "")[:12]),
            t("column.utc"): display.utc_time(run["created_at"]),
            t("column.id"): run["id"],
        }
        for run in runs
    ]
    return pd.DataFrame(rows)


def _share(run: Json) -> float | None:
    if run["status"] == "SUCCEEDED":
        return 100.0
    share = (run.get("progress") or {}).get("percent")
    return float(share) if isinstance(share, int | float) else None


def _show_choice(chosen: list[str]) -> None:
    with st.container(horizontal=True):
        pages = st.session_state.pages
        st.page_link(
            pages["run"],
            label=t("action.open_run"),
            icon=":material/lab_profile:",
            query_params={"run": chosen[0]} if chosen else None,
            disabled=len(chosen) != 1,
        )
        st.page_link(
            pages["compare"],
            label=t("experiments.compare", count=len(chosen)),
            icon=":material/compare_arrows:",
            query_params={"ids": ",".join(chosen)} if chosen else None,
            disabled=not 2 <= len(chosen) <= MOST_COMPARED,
        )


def _show_paging(cursors: list[str | None], following: str | None) -> None:
    if len(cursors) == 1 and following is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(t("action.previous"), icon=":material/chevron_left:", disabled=len(cursors) == 1):
            cursors.pop()
            st.rerun()
        st.caption(t("experiments.page", page=len(cursors)))
        if st.button(t("action.next"), icon=":material/chevron_right:", disabled=following is None):
            cursors.append(following)
            st.rerun()


def _show_downloads(filters: Json) -> None:
    api = client()
    with st.container(horizontal=True):
        st.download_button(
            t("action.download_csv"),
            lambda: build_csv(api, filters),
            file_name="experiments.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="download-csv",
        )
        st.download_button(
            t("action.download_json"),
            lambda: build_json(api, filters),
            file_name="experiments.json",
            mime="application/json",
            icon=":material/download:",
            on_click="ignore",
            key="download-json",
        )


def build_csv(api: ApiClient, filters: Json) -> bytes:
    """Return all runs that the filters keep, as CSV without formulas."""
    rows = ([run.get(column) for column in DOWNLOAD_COLUMNS] for run in _load_all(api, filters))
    return display.save_csv(DOWNLOAD_COLUMNS, rows)


def build_json(api: ApiClient, filters: Json) -> bytes:
    """Return all runs that the filters keep, as JSON."""
    return json.dumps(list(_load_all(api, filters)), ensure_ascii=False, indent=1).encode()


def _load_all(api: ApiClient, filters: Json) -> Iterator[Json]:
    cursor: str | None = None
    given = 0
    while given < MOST_DOWNLOADED:
        runs, cursor = api.find_experiments(**filters, limit=DOWNLOAD_ROWS, cursor=cursor)
        yield from runs
        given += len(runs)
        if cursor is None:
            return


def _show_nothing(filtered: bool) -> None:
    if filtered:
        st.info(t("experiments.nothing_fits"), icon=":material/filter_list_off:")
        return
    st.info(t("experiments.empty"), icon=":material/science:")
    st.page_link(st.session_state.pages["submit"], label=t("action.submit_first"), icon=":material/rocket_launch:")
