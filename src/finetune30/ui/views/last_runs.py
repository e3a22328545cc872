"""Part of Follow: which task is followed, and where none is, the last runs."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.client import ApiUnreachableError
from finetune30.ui.interruptions import finished_first
from finetune30.ui.run_header import COLORS, ICONS, show_moment
from finetune30.ui.scores import score_value
from finetune30.ui.session import ask, client, lost, t, t_or

Json = dict[str, Any]

SHOWN = 10
#: Runs that go on or wait, to choose among.
OFFERED = 50
#: In the address: the list is wanted, not the run that goes on.
LIST = "list"


def choose_task() -> str:
    """Return the task of the address, one typed or chosen, else the newest that runs; "" where there is none."""
    address = st.query_params.get("task", "")
    current = _load_current()
    if not address and st.query_params.get(LIST) is None and current:
        address = str(current[0]["id"])
    if "task_input" not in st.session_state or st.session_state.get("task_address") != address:
        st.session_state.task_input = st.session_state.task_address = address
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if address:
            st.button(t("follow.last_runs"), icon=":material/list:", key="last-runs", on_click=_ask_for_list)
        others = [run for run in current if run["id"] != address]
        if others:
            _choose_other(others)
        with st.popover(t("follow.by_id"), icon=":material/tag:"):
            typed = st.text_input(
                t("follow.task_id"), key="task_input", placeholder=t("follow.task_hint"), max_chars=200
            )
    task_id: str = typed.strip()
    if task_id != st.query_params.get("task", ""):
        st.session_state.task_address = task_id
        if task_id:
            st.query_params["task"] = task_id
            st.query_params.pop(LIST, None)
        else:
            st.query_params.pop("task", None)
            st.query_params[LIST] = "1"
    return task_id


def show() -> None:
    """Show the last runs, each a way to follow it."""
    found = ask(lambda: client().find_experiments(limit=SHOWN))
    if found is None:
        return
    pages = st.session_state.pages
    if not found[0]:
        st.info(t("follow.empty"), icon=":material/monitoring:")
        st.page_link(pages["submit"], label=t("action.submit_first"), icon=":material/rocket_launch:")
        return
    st.header(t("follow.last_runs"), anchor=False)
    for run in found[0]:
        _show_row(run)
    st.page_link(pages["experiments"], label=t("navigation.experiments"), icon=":material/table_rows:")


def _show_row(run: Json) -> None:
    status = str(run["status"])
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.badge(t_or(f"status.{status}", status), color=COLORS.get(status, "gray"), icon=ICONS.get(status))  # type: ignore[arg-type]
        label = display.plain(run["name"], 80)
        st.button(label, type="tertiary", key=f"follow-{run['id']}", on_click=_follow, args=(str(run["id"]),))
        share = (run.get("progress") or {}).get("percent")
        if status == "RUNNING" and isinstance(share, int | float):
            st.progress(min(1.0, max(0.0, share / 100)), f"{share:.0f} %")
        if run.get("score") is not None:
            st.caption(f"{t_or('metric.' + str(run.get('score_name')), '')} {score_value(run)}", width="content")
        show_moment(t("run.created_at"), run["created_at"])


@finished_first
def _ask_for_list() -> None:
    st.session_state.task_input = st.session_state.task_address = ""
    st.query_params.pop("task", None)
    st.query_params[LIST] = "1"


@finished_first
def _follow(run_id: str) -> None:
    st.session_state.task_input = st.session_state.task_address = run_id
    st.query_params.pop(LIST, None)
    st.query_params["task"] = run_id


def _choose_other(others: list[Json]) -> None:
    names = {run["id"]: _describe(run) for run in others}

    @finished_first
    def take() -> None:
        if st.session_state.current_choice:
            st.session_state.task_input = st.session_state.current_choice

    st.selectbox(
        t("follow.current", count=len(names)),
        list(names),
        index=None,
        format_func=lambda run_id: names.get(run_id, run_id),
        placeholder=t("follow.current_choose"),
        key="current_choice",
        on_change=take,
        width=360,
    )


def _load_current() -> list[Json]:
    """Current runs, those that run before those that wait, each the newest first.

    None while the API is away, so that what is shown below stays.
    """
    found: dict[str, list[Json]] = {}
    try:
        for status in ("QUEUED", "RUNNING"):  # in this order, so that a run that begins meanwhile is in one of them
            answer = ask(lambda status=status: client().find_experiments(status=[status], limit=OFFERED))  # type: ignore[misc]
            if answer is None:
                return []
            found[status] = answer[0]
    except ApiUnreachableError as error:
        lost(error)
        return []
    return list({run["id"]: run for run in (*found["RUNNING"], *found["QUEUED"])}.values())[:OFFERED]


def _describe(run: Json) -> str:
    share = (run.get("progress") or {}).get("percent")
    state = t(f"status.{run['status']}") + (f" {share:.0f} %" if isinstance(share, int | float) else "")
    return display.raw(f"{run['name']} · {state} · {run['id'][:8]}", 120)
