"""Experiments: the record of all runs, filtered and sorted by the API, page by page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import streamlit as st

from finetune30.ui import charts, display
from finetune30.ui.client import ApiClient, ApiUnreachableError
from finetune30.ui.confirmation import is_asking
from finetune30.ui.health import warn_without_worker
from finetune30.ui.scores import score_in_sentence, score_title, shares_among
from finetune30.ui.session import ask, bears_loss, client, lost, t
from finetune30.ui.states import LIVE, STATUSES
from finetune30.ui.views import run_address
from finetune30.ui.views.run_actions import show_actions
from finetune30.ui.views.run_filters import SORTS, choose_filters
from finetune30.ui.views.run_plots import show_plots
from finetune30.ui.views.run_statistics import load_statistics, show_best
from finetune30.ui.views.run_table import DEFAULT, asked_keys, choose_columns, show_table

Json = dict[str, Any]

PAGE_ROWS = 50
LIVE_SECONDS = 2
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
    "tags",
    "starred",
    "archived",
    "note",
)
Place = tuple[int, str | None]


def show() -> None:
    """Show the page."""
    st.title(t("experiments.title"), anchor=False)
    words = run_address.build_words(STATUSES, SORTS, DEFAULT)
    run_address.take_address(words)
    stats = load_statistics()
    best: list[Json] = stats.get("best") or []
    st.session_state.experiments_tags = list(stats.get("tags") or {})
    filters = choose_filters(shares_among(best))
    places = _places(filters)
    page = _ask_page(filters, places[-1][1])
    if page is None:
        return
    runs: list[Json] = page["experiments"]
    if not runs and len(places) == 1:
        _show_nothing(bool(filters.keys() - {"sort_by", "desc"}), int(stats.get("archived") or 0))
        run_address.write_address(words)
        return
    st.session_state.experiments_fresh = page
    is_live = any(run["status"] in LIVE for run in runs)
    best_ids = frozenset(str(run["run_id"]) for run in best)
    refresh = LIVE_SECONDS if is_live and not is_asking() else None
    st.fragment(bears_loss(_show_table), run_every=refresh)(filters, places[-1][1], best_ids, words)
    _show_paging(places, page.get("next_cursor"))
    _say_archived(filters, int(stats.get("archived") or 0))
    left, right = st.columns(2)
    with left:
        _show_score_trend(runs)
    with right:
        runtime = t("experiments.trend_runtime")
        charts.trend(runs, "train_runtime", title=runtime, form="~s", key="experiments-runtime")
    show_best(best)
    _show_downloads(filters)
    run_address.write_address(words)


def _say_archived(filters: Json, count: int) -> None:
    """Say that archived runs are not among those shown, and where they are."""
    if count and "archived" not in filters:
        st.caption(t("experiments.archived_hidden", count=count))


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
        form=".1~%" if shares[str(name)] else ".4~g",
        key="experiments-score",
        by="dataset_digest",
    )


def _places(filters: Json) -> list[Place]:
    """The pages gone through so far, by number and cursor; another question starts at the first page."""
    known = st.session_state.get("experiments_question")
    if "experiments_place" not in st.session_state or (known is not None and known != filters):
        st.session_state.experiments_place = [(1, None)]
    st.session_state.experiments_question = filters
    places: list[Place] = st.session_state.experiments_place
    return places


def _show_table(filters: Json, cursor: str | None, best: frozenset[str], words: dict[str, run_address.Word]) -> None:
    page = _load_page(filters, cursor)
    runs: list[Json] = page["experiments"]
    if any(run["status"] == "QUEUED" for run in runs):
        warn_without_worker()
    with st.container(horizontal=True, vertical_alignment="center"):
        columns = choose_columns(page)
        st.caption(t("experiments.select_hint"), help=t("experiments.select_help"), width="content")
    selected = st.session_state.get("experiments_selected") or []
    marked, opened = show_table(runs, columns, best, selected)
    if opened is not None:
        st.switch_page(st.session_state.pages["run"], query_params={"run": str(opened["id"])})
    st.session_state.experiments_selected = [str(run["id"]) for run in marked]
    show_actions(marked)
    show_plots(marked if len(marked) > 1 else runs, page, are_marked=len(marked) > 1)
    run_address.write_address(words)
    was_live = st.session_state.get("experiments_live", False)
    st.session_state.experiments_live = any(run["status"] in LIVE for run in runs)
    if was_live and not st.session_state.experiments_live:
        st.rerun()  # the last run ended: totals change, and nothing needs refreshing any more


def _ask_page(filters: Json, cursor: str | None) -> Json | None:
    """One page of runs, with what differs among them and the keys of the chosen columns."""
    keys = asked_keys()
    return ask(lambda: client().find_page(**filters, limit=PAGE_ROWS, cursor=cursor, columns=keys))


def _load_page(filters: Json, cursor: str | None) -> Json:
    """The runs of this page: those just asked for, later asked anew; while the API is away, those seen last."""
    fresh: Json | None = st.session_state.pop("experiments_fresh", None)
    if fresh is not None:
        st.session_state.experiments_seen = fresh
        return fresh
    try:
        found = _ask_page(filters, cursor)
    except ApiUnreachableError as error:
        lost(error)
        found = None
    if found is not None:
        st.session_state.experiments_seen = found
    seen: Json = st.session_state.get("experiments_seen", {"experiments": []})
    return seen


def _show_paging(places: list[Place], following: str | None) -> None:
    if len(places) == 1 and following is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(t("action.previous"), icon=":material/chevron_left:", disabled=len(places) == 1):
            places.pop()
            st.rerun()
        st.caption(t("experiments.page", page=places[-1][0]))
        if st.button(t("action.next"), icon=":material/chevron_right:", disabled=following is None):
            places.append((places[-1][0] + 1, following))
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
    rows = ([_cell(run.get(column)) for column in DOWNLOAD_COLUMNS] for run in _load_all(api, filters))
    return display.save_csv(DOWNLOAD_COLUMNS, rows)


def _cell(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


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


def _show_nothing(filtered: bool, archived: int) -> None:
    if filtered or archived:
        st.info(t("experiments.nothing_fits"), icon=":material/filter_list_off:")
        if archived:
            st.caption(t("experiments.archived_hidden", count=archived))
        return
    st.info(t("experiments.empty"), icon=":material/science:")
    st.page_link(st.session_state.pages["submit"], label=t("action.submit_first"), icon=":material/rocket_launch:")
