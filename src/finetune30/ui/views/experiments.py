"""Experiments: the record of all runs, filtered and sorted by the API, page by page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import streamlit as st

from finetune30.ui import charts, display
from finetune30.ui.client import ApiClient, ApiUnreachableError
from finetune30.ui.layout import table_pixels
from finetune30.ui.scores import score_in_sentence, score_title, score_value, shares_among
from finetune30.ui.session import ask, client, local_time, lost, t
from finetune30.ui.stand_ins import mark_data, mark_model
from finetune30.ui.views.run_filters import choose_filters
from finetune30.ui.views.run_statistics import show_best, show_statistics

Json = dict[str, Any]

PAGE_ROWS = 50
LIVE_SECONDS = 2
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
    "score",
    "score_name",
    "score_greater_is_better",
    "score_format",
    "eval_accuracy",
    "eval_f1",
    "eval_loss",
    "attempt",
    "folder",
)


def show() -> None:
    """Show the page."""
    st.title(t("experiments.title"), anchor=False)
    best = show_statistics()
    filters = choose_filters(shares_among(best))
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
        _show_score_trend(found[0])
    with right:
        runtime = t("experiments.trend_runtime")
        charts.trend(found[0], "train_runtime", title=runtime, form="~s", key="experiments-runtime")
    show_best(best)
    _show_downloads(filters)


def _show_score_trend(runs: list[Json]) -> None:
    """Plot one score of the runs, each data version in a colour of its own."""
    shares = shares_among(runs)
    if not shares:
        return
    names = list(shares)
    name: str | None = names[0]
    if len(names) > 1:
        name = st.selectbox(t("experiments.trend_of"), names, format_func=score_title, key="experiments-trend-of")
    charts.trend(
        [run for run in runs if run.get("score_name") == name],
        "score",
        title=t("experiments.trend_score", score=score_in_sentence(str(name))),
        form=".0%" if shares[str(name)] else ".4~g",
        key="experiments-score",
        by="dataset_digest",
    )


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
            **{title: st.column_config.NumberColumn(format="%.1f %%") for title in _share_columns(runs)},
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


def _score_cells(run: Json, shares: Mapping[str, bool]) -> Json:
    """The score: a number under its name where all runs have the same one, else each with what it is."""
    if len(shares) != 1:
        title = score_title(run["score_name"]) if run.get("score_name") else ""
        return {t("column.score"): score_value(run), t("column.score_name"): title}
    ((name, is_share),) = shares.items()
    score = run.get("score")
    return {score_title(name): None if score is None else score * (100 if is_share else 1)}


def _share_columns(runs: list[Json]) -> list[str]:
    shares = shares_among(runs)
    return [score_title(name) for name, is_share in shares.items() if len(shares) == 1 and is_share]


def _frame(runs: list[Json]) -> pd.DataFrame:
    shares = shares_among(runs)
    rows = [
        {
            t("column.name"): display.raw(run["name"], 80),
            t("column.status"): t(f"status.{run['status']}"),
            t("column.progress"): _share(run),
            **_score_cells(run, shares),
            t("column.loss"): run.get("eval_loss"),
            t("column.runtime"): display.duration(run.get("train_runtime")),
            t("column.created"): local_time(run["created_at"]),
            t("column.model"): display.raw(mark_model(run), 100),
            t("column.data"): display.raw(mark_data(run, (run.get("dataset_digest") or "")[:12]), 60),
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
