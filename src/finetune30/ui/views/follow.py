"""Follow: one task, looked at every two seconds until it ends."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import curves, display
from finetune30.ui.blocks import show_blocks
from finetune30.ui.client import ApiUnreachableError
from finetune30.ui.confirmation import confirmed_button, is_asking, take_done
from finetune30.ui.health import warn_without_worker
from finetune30.ui.history import measured
from finetune30.ui.layout import show_figures
from finetune30.ui.metrics import metric_value, rows_per_second
from finetune30.ui.run_header import show_error_card, show_log, show_moment, show_state, show_times
from finetune30.ui.session import ask, bears_loss, client, in_own_words, lost, t, t_or
from finetune30.ui.stand_ins import show_stand_ins
from finetune30.ui.states import FINAL, LIVE
from finetune30.ui.views import last_runs, try_model

Json = dict[str, Any]

REFRESH_SECONDS = 2
LOG_LINES = 200
RETRYABLE = ("FAILED", "CANCELLED")
#: Why a run waits, beside that no worker is there.
WAITS = ("other_version", "running_limit", "too_few_places", "gathering", "places_kept", "places_busy", "starting")


def show() -> None:
    """Show the page."""
    st.title(t("follow.title"), anchor=False)
    task_id = last_runs.choose_task()
    if not task_id:
        last_runs.show()
        return
    if _snapshot(task_id) is None:
        _load(task_id)
    task = _snapshot(task_id)
    if task is None:
        return
    _show_submitted(task_id, str(task["task"]["experiment_name"]))
    settled = task["task"]["status"] in FINAL
    st.fragment(bears_loss(_show_live), run_every=None if settled or is_asking() else REFRESH_SECONDS)(task_id)


def _show_submitted(task_id: str, name: str) -> None:
    """Say once that the submission which led here was taken, and as long as the task is shown what it brought up."""
    answer = st.session_state.get("submitted")
    if answer is None or answer["task_id"] != task_id:
        return
    if not answer.get("is_told"):
        answer["is_told"] = True
        st.toast(t("submit.done", name=display.plain(name)), icon=":material/check_circle:", duration="long")
    for note in answer.get("notes") or ():
        st.info(display.plain(in_own_words(str(note)), 500))


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
    show_stand_ins(task)
    _show_progress(task)
    _show_actions(task)
    show_error_card(task.get("error"), final=task["status"] in FINAL)
    finished = task["status"] == "SUCCEEDED"
    if finished:
        _show_result(str(task["task_id"]))
    _show_numbers(task, history)
    _show_curves(held)
    show_times(task)
    with st.expander(t("follow.log"), expanded=not finished, icon=":material/terminal:"):
        show_log(held["log"], 300)


def _show_result(run_id: str) -> None:
    """Show what came of the run, and a place to ask its model, where it was watched."""
    held = st.session_state.get("follow_result")
    if held is None or held["id"] != run_id:
        held = ask(lambda: client().load_experiment(run_id))
        if held is None:
            return
        st.session_state.follow_result = held
    try_model.show_question(held)
    show_blocks(held.get("blocks") or (), run_id)


def _show_progress(task: Json) -> None:
    progress = task.get("progress") or {}
    status = task["status"]
    if status == "QUEUED":
        warn_without_worker()
        st.progress(0.0, t("follow.waiting", position=task.get("queue_position") or "?"))
        if (waiting := task.get("waiting")) and waiting["code"] in WAITS:
            fault = display.plain(in_own_words(waiting.get("fault") or ""), 300)
            st.caption(t(f"follow.waits.{waiting['code']}", **waiting | {"fault": fault}))
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
        text += " · " + t(
            "follow.eta", time=display.duration(left, t), clock=display.clock_in(left, st.context.timezone)
        )
    st.progress(share, text)


def _show_fetching(progress: Json) -> None:
    done, total = int(progress.get("done_bytes") or 0), int(progress.get("total_bytes") or 0)
    text = t("follow.fetching", name=progress.get("name"), done=display.size(done), total=display.size(total))
    st.progress(min(1.0, done / total) if total else 0.0, text)


def _show_actions(task: Json) -> None:
    task_id = str(task["task_id"])
    with st.container(horizontal=True, vertical_alignment="center"):
        if task["status"] in LIVE:
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
    st.session_state.pop("follow_result", None)
    st.rerun()


def _show_numbers(task: Json, history: list[Json]) -> None:
    if task["status"] == "SUCCEEDED":
        return  # the pieces of the result say it better
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
    )
    show_figures((t(f"follow.{name}"), value) for name, value in facts if value != display.NOTHING)
    found = {name: result.get(name, evaluated.get(name)) for name in measured([evaluated, result])}
    if found:
        show_figures((t_or(f"metric.{name}", name), metric_value(name, value)) for name, value in found.items())


def _show_curves(held: Json) -> None:
    history = held["history"]
    if not history and held["task"]["status"] in FINAL:
        return  # it ended before its first record
    best = (held["task"].get("result") or held["task"].get("progress") or {}).get("best_step")
    curves.show_curves(history, key="follow", best_step=best, figures=False)
    if history:
        show_moment(t("follow.last_record"), history[-1].get("time"))


def _tell_tab(task: Json) -> None:
    """Put name and progress into the title of the browser's tab."""
    share = (task.get("progress") or {}).get("percent")
    is_moving = task["status"] == "RUNNING" and isinstance(share, int | float)
    state = f"{share:.0f} %" if is_moving else t(f"status.{task['status']}")
    st.set_page_config(page_title=display.raw(f"{state} · {task.get('experiment_name') or ''} · finetune30", 120))
