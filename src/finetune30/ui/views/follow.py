"""Follow: one task, looked at every two seconds until it ends."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import curves, display
from finetune30.ui.client import ApiUnreachableError
from finetune30.ui.confirmation import confirmed_button, is_asking, take_done
from finetune30.ui.health import warn_without_worker
from finetune30.ui.history import measured
from finetune30.ui.interruptions import finished_first
from finetune30.ui.layout import show_figures
from finetune30.ui.metrics import metric_value, rows_per_second
from finetune30.ui.run_header import show_error_card, show_log, show_moment, show_state, show_times
from finetune30.ui.session import ask, client, lost, t, t_or

Json = dict[str, Any]

REFRESH_SECONDS = 2
LOG_LINES = 200
CURRENT = ("RUNNING", "QUEUED")
FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")
RETRYABLE = ("FAILED", "CANCELLED")


def show() -> None:
    """Show the page."""
    st.title(t("follow.title"), anchor=False)
    task_id = _choose_task()
    if not task_id:
        st.info(t("follow.empty"), icon=":material/monitoring:")
        st.page_link(st.session_state.pages["submit"], label=t("action.submit_first"), icon=":material/rocket_launch:")
        return
    if _snapshot(task_id) is None:
        _load(task_id)
    task = _snapshot(task_id)
    if task is None:
        return
    settled = task["task"]["status"] in FINAL
    st.fragment(_show_live, run_every=None if settled or is_asking() else REFRESH_SECONDS)(task_id)


def _choose_task() -> str:
    """A task typed, chosen from the current ones, or from the address."""
    address = st.query_params.get("task", "")
    if "task_input" not in st.session_state or st.session_state.get("task_address") != address:
        st.session_state.task_input = st.session_state.task_address = address
    typed, chosen = st.columns([3, 2], vertical_alignment="bottom")
    with typed:
        task_id = st.text_input(t("follow.task_id"), key="task_input", placeholder=t("follow.task_hint"), max_chars=200)
    with chosen:
        names = {run["id"]: _describe(run) for run in _load_current()}

        @finished_first
        def take() -> None:
            if st.session_state.current_choice:
                st.session_state.task_input = st.session_state.current_choice

        st.selectbox(
            t("follow.current", count=len(names)),
            list(names),
            index=None,
            format_func=lambda run_id: names.get(run_id, run_id),
            placeholder=t("follow.current_none") if not names else t("follow.current_choose"),
            disabled=not names,
            key="current_choice",
            on_change=take,
        )
    task_id = task_id.strip()
    if task_id != address:
        st.session_state.task_address = task_id
        if task_id:
            st.query_params["task"] = task_id
        else:
            st.query_params.pop("task", None)
    return task_id


def _load_current() -> list[Json]:
    """Current runs; none while the API is away, so that what is shown below stays."""
    try:
        found = ask(lambda: client().find_experiments(status=list(CURRENT), limit=50))
    except ApiUnreachableError as error:
        lost(error)
        return []
    return found[0] if found else []


def _describe(run: Json) -> str:
    share = (run.get("progress") or {}).get("percent")
    state = t(f"status.{run['status']}") + (f" {share:.0f} %" if isinstance(share, int | float) else "")
    return display.raw(f"{run['name']} · {state} · {run['id'][:8]}", 120)


def _snapshot(task_id: str) -> Json | None:
    held = st.session_state.get("followed")
    return held if held is not None and held["task_id"] == task_id else None


def _load(task_id: str) -> None:
    """Ask the API and keep the answer, so that a lost API leaves the last view standing."""
    api = client()
    task = ask(lambda: api.load_task(task_id))
    if task is None:
        return
    history = _extend_history(task_id, int(task.get("attempt") or 0))
    log = ask(lambda: api.load_log(task_id, LOG_LINES)) or []
    st.session_state.followed = {"task_id": task_id, "task": task, "history": history, "log": log}


def _extend_history(task_id: str, attempt: int) -> list[Json]:
    """Ask for the records that are new; another attempt starts its history anew."""
    held = _snapshot(task_id)
    known: list[Json] = held["history"] if held and held["task"].get("attempt") == attempt else []
    answer = ask(lambda: client().load_history(task_id, after=len(known)))
    if answer is None:
        return known
    if answer.get("attempt") != attempt or int(answer.get("next", 0)) < len(known):
        known = []
        answer = ask(lambda: client().load_history(task_id)) or {}
    return [*known, *answer.get("records", [])]


def _show_live(task_id: str) -> None:
    held = _snapshot(task_id)
    was_final = held is not None and held["task"]["status"] in FINAL
    try:
        if not was_final:
            _load(task_id)
    except ApiUnreachableError as error:
        lost(error)  # the banner says so; what was seen last stays
    held = _snapshot(task_id)
    if held is None:
        return
    _show(held)
    if not was_final and held["task"]["status"] in FINAL:
        st.rerun()  # no more refreshing


def _show(held: Json) -> None:
    task, history = held["task"], held["history"]
    _tell_tab(task)
    show_state(task)
    _show_progress(task)
    _show_actions(task)
    show_error_card(task.get("error"), final=task["status"] in FINAL)
    _show_numbers(task, history)
    _show_curves(held)
    show_times(task)
    with st.expander(t("follow.log"), expanded=True, icon=":material/terminal:"):
        show_log(held["log"], 300)


def _show_progress(task: Json) -> None:
    progress = task.get("progress") or {}
    status = task["status"]
    if status == "QUEUED":
        warn_without_worker()
        st.progress(0.0, t("follow.waiting", position=task.get("queue_position") or "?"))
        return
    if status in RETRYABLE and not progress.get("step"):
        return  # it ended before its first step
    if progress.get("stage") == "fetching":
        _show_fetching(progress)
        return
    share = 1.0 if status == "SUCCEEDED" else min(1.0, max(0.0, float(progress.get("percent") or 0) / 100))
    step, total = progress.get("step"), progress.get("total_steps", progress.get("total"))
    text = t("follow.progress", percent=f"{100 * share:.0f}", step=display.number(step), total=display.number(total))
    if status == "RUNNING" and progress.get("eta_seconds") is not None:
        left = progress["eta_seconds"]
        text += " · " + t("follow.eta", time=display.duration(left), clock=display.clock_in(left, st.context.timezone))
    st.progress(share, text)


def _show_fetching(progress: Json) -> None:
    done, total = int(progress.get("done_bytes") or 0), int(progress.get("total_bytes") or 0)
    text = t("follow.fetching", name=progress.get("name"), done=display.size(done), total=display.size(total))
    st.progress(min(1.0, done / total) if total else 0.0, text)


def _show_actions(task: Json) -> None:
    task_id = str(task["task_id"])
    with st.container(horizontal=True, vertical_alignment="center"):
        if task["status"] in CURRENT:
            stopping = bool(task.get("cancel_requested"))
            label = t("follow.cancelling") if stopping else t("follow.cancel")
            confirmed_button(
                label,
                t("follow.cancel_question"),
                lambda: client().cancel(task_id),
                key=f"cancel-{task_id}",
                icon=":material/stop_circle:",
                confirm=t("follow.cancel_confirm"),
                disabled=stopping,
            )
        if task["status"] in RETRYABLE:
            confirmed_button(
                t("follow.retry"),
                t("follow.retry_question"),
                lambda: client().retry(task_id),
                key=f"retry-{task_id}",
                icon=":material/replay:",
                confirm=t("follow.retry_confirm"),
            )
            if take_done(f"retry-{task_id}"):
                _follow_anew()
        st.page_link(
            st.session_state.pages["run"],
            label=t("action.open_run"),
            icon=":material/lab_profile:",
            query_params={"run": task_id},
        )


def _follow_anew() -> None:
    """Forget the ended attempt, so that the page looks every two seconds again."""
    st.session_state.pop("followed", None)
    st.rerun()


def _show_numbers(task: Json, history: list[Json]) -> None:
    progress = task.get("progress") or {}
    trained = next((record for record in reversed(history) if record.get("type") == "train"), {})
    evaluated = next((record for record in reversed(history) if record.get("type") == "eval"), {})
    result = task.get("result") or {}
    speed = progress.get("samples_per_second", trained.get("samples_per_second"))
    facts = (
        ("loss", display.number(trained.get("loss", progress.get("loss")))),
        ("learning_rate", display.rate(trained.get("learning_rate", progress.get("learning_rate")))),
        ("speed", rows_per_second(speed)),
        ("memory", display.size(result.get("peak_memory_bytes") or progress.get("memory_bytes"))),
        ("attempt", display.number(task.get("attempt") or None)),
    )
    show_figures((t(f"follow.{name}"), value) for name, value in facts)
    # What was measured last: of a finished run the weights that it kept, else those of the last evaluation.
    found = {name: result.get(name, evaluated.get(name)) for name in measured([evaluated, result])}
    if found:
        show_figures((t_or(f"metric.{name}", name), metric_value(name, value)) for name, value in found.items())


def _show_curves(held: Json) -> None:
    history = held["history"]
    best = (held["task"].get("result") or held["task"].get("progress") or {}).get("best_step")
    curves.show_curves(history, key="follow", best_step=best)
    if history:
        show_moment(t("follow.last_record"), history[-1].get("time"))


def _tell_tab(task: Json) -> None:
    """Put name and progress into the title of the browser's tab."""
    share = (task.get("progress") or {}).get("percent")
    is_moving = task["status"] == "RUNNING" and isinstance(share, int | float)
    state = f"{share:.0f} %" if is_moving else t(f"status.{task['status']}")
    st.set_page_config(page_title=display.raw(f"{state} · {task.get('experiment_name') or ''} · finetune30", 120))
