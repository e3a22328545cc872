"""Part of Submit: the place in the queue, and the button that hands the draft over."""

from __future__ import annotations

import copy
import uuid
from typing import Any

import streamlit as st

from finetune30.ui import form
from finetune30.ui.client import ApiError
from finetune30.ui.session import ask, client, t
from finetune30.ui.views import expectation

Json = dict[str, Any]

#: Of those that the API takes (-100 to 100), by words; higher is earlier.
PRIORITIES = (-100, -10, 0, 10, 100)
#: Where a link goes that leads past the form, for people without a mouse.
TO_BUTTON = "to-the-button"


def show(blockers: list[str], expected: Json | None) -> None:
    """Show the button, and beside it what stops it or what to expect; both stay in sight however long the form is.

    A press that met a blocker in the same moment does nothing.
    """
    priority = _choose_priority()
    st.html(f'<span class="skip-target" id="{TO_BUTTON}" tabindex="-1"></span>')
    with st.container(key="submit-bar", horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            t("submit.button"),
            type="primary",
            icon=":material/rocket_launch:",
            disabled=bool(blockers),
            key="submit_button",
        )
        for reason in blockers or expectation.in_short(expected or {}):
            st.caption(reason, width="content")
        pressed = bool(st.session_state.pop("submit_now", False)) or pressed
        if pressed and not blockers:
            _submit(priority)


def _choose_priority() -> int:
    """A place in the queue before or behind other runs, in words: nobody knows what 37 of 100 would mean."""
    offered = offered_priorities(_highest_priority())
    usual = min(0, offered[-1])
    if len(offered) == 1:
        return usual
    chosen: int = st.select_slider(
        t("submit.priority"),
        offered,
        usual,
        format_func=lambda value: t(f"priority.{0 if value == usual else value}"),
        key=form.widget_key(f"priority-{offered[-1]}"),
        help=t("submit.priority_help"),
        width=320,
    )
    return chosen


def offered_priorities(highest: int) -> list[int]:
    """Return the priorities to choose from. Where 0 may not be given, the highest takes its place, as the API does."""
    usual = min(0, highest)
    return (
        [value for value in PRIORITIES if value < usual]
        + [usual]
        + [value for value in PRIORITIES if usual < value <= highest]
    )


def _highest_priority() -> int:
    """Return the highest priority that the API takes from this caller; an older API does not tell."""
    held: int | None = st.session_state.get("highest_priority")
    if held is None:
        try:
            held = int(client().load_caller()["highest_priority"])
        except ApiError:
            held = PRIORITIES[-1]
        st.session_state.highest_priority = held
    return held


def _submit(priority: int) -> None:
    """Hand the draft over and go where it can be followed."""
    body = form.build_request() | ({"priority": priority} if priority else {})
    key = _idempotency_key(body)
    answer = ask(lambda: client().submit(body, key))
    if answer is None:
        return
    st.session_state.pop("submit_key", None)
    st.session_state.submitted = answer
    st.switch_page(st.session_state.pages["follow"], query_params={"task": str(answer["task_id"])})


def _idempotency_key(body: Json) -> str:
    """The same key while the same body was not accepted, so that pressing again after a lost answer makes one run."""
    held = st.session_state.get("submit_key")
    if held is None or held[0] != body:
        held = (copy.deepcopy(body), uuid.uuid4().hex)
        st.session_state.submit_key = held
    return str(held[1])
