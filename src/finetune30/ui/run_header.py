"""What the top of a run looks like on every page: state, times, and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.session import explain, local_time, t, t_or

COLORS = {
    "QUEUED": "gray",
    "RUNNING": "blue",
    "PAUSED": "violet",
    "SUCCEEDED": "green",
    "FAILED": "red",
    "CANCELLED": "orange",
}
ICONS = {
    "QUEUED": ":material/schedule:",
    "RUNNING": ":material/play_circle:",
    "PAUSED": ":material/pause_circle:",
    "SUCCEEDED": ":material/check_circle:",
    "FAILED": ":material/error:",
    "CANCELLED": ":material/cancel:",
}
MOMENTS = ("created_at", "started_at", "finished_at")


def show_state(run: Mapping[str, Any], *, is_title: bool = False) -> None:
    """Show name (of a page about nothing else, as its title), state and id of a run or task."""
    status = str(run["status"])
    name = run.get("name") or run.get("experiment_name") or ""
    (st.title if is_title else st.header)(display.plain(name, 120), anchor=False)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(t_or(f"status.{status}", status), color=COLORS.get(status, "gray"), icon=ICONS.get(status))  # type: ignore[arg-type]
        st.caption(f"`{display.raw(run.get('id') or run.get('task_id') or '', 40)}`")


def show_times(run: Mapping[str, Any]) -> None:
    """Show when a run was made, started and ended (local time, UTC in the help), and how often it was begun."""
    with st.container(horizontal=True, gap="small"):
        for name in MOMENTS:
            if run.get(name):
                show_moment(t(f"run.{name}"), run[name])
        if (attempt := int(run.get("attempt") or 0)) > 1:
            st.caption(t("run.attempt", number=attempt), width="content")


def show_moment(what: str, value: Any) -> None:
    """Show one moment: local time, UTC in the help."""
    label = t("time.label", what=what, moment=local_time(value))
    st.caption(label, help=t("time.utc", moment=display.utc_time(value)), width="content")


def show_log(lines: Sequence[str], pixels: int) -> None:
    """Show the last lines of a log, the newest in sight."""
    shown = "\n".join(display.raw(line, 2000) for line in lines)
    with st.container(height=pixels, border=False, autoscroll=True):
        st.code(shown or t("follow.log_empty"), language=None, wrap_lines=True)


def show_error_card(error: Mapping[str, Any] | None, *, final: bool) -> None:
    """Show why a run failed (or its attempt before this one), what to do, and whether a retry may help."""
    if not error:
        return
    cause = str(error.get("cause") or error.get("error") or "unknown")
    title = t("error.title") if final else t("error.title_before")
    named = t_or(f"cause.{cause}", t_or(f"api_error.{cause}", display.plain(cause)))
    lines = [f"**{title}** {named}", explain(error)]
    place = error.get("details") or {}
    if place.get("file"):
        lines.append(t("error.place", place=display.plain(f"{place['file']}:{place.get('line', '')}")))
    if final and "retry_may_help" in error:
        lines.append(t("error.retry_helps") if error["retry_may_help"] else t("error.retry_useless"))
    (st.error if final else st.warning)("\n\n".join(lines), icon=":material/error:")
