"""A button that asks before it acts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import streamlit as st

from finetune30.ui.client import ApiError, ApiUnreachableError
from finetune30.ui.interruptions import finished_first
from finetune30.ui.session import lost, refuse, t


def confirmed_button(
    label: str,
    question: str,
    action: Callable[[], Any],
    *,
    key: str,
    icon: str,
    disabled: bool = False,
) -> None:
    """Show a button; pressing it asks `question`, and only the second button acts.

    All three buttons act in callbacks, which run before the page is drawn: a page that draws itself anew every two
    seconds cannot lose a press between the drawing and the next one. What the API refused stays until the next press;
    that it was done is told by `take_done`.
    """
    asked, refused, done = (f"{what}-{key}" for what in ("asked", "refused", "done"))
    state = st.session_state

    @finished_first
    def ask_first() -> None:
        state[asked] = True
        state.pop(refused, None)

    @finished_first
    def leave() -> None:
        state.pop(asked, None)

    def act() -> None:
        answer = functools.cache(lambda: _answer(action))  # asked for once, however often what follows begins again

        @finished_first
        def take_answer() -> None:
            error = answer()
            if isinstance(error, ApiUnreachableError):
                lost(error)  # the banner says so; the question stays, the person may press again
                return
            if error:
                state[refused] = error
            else:
                state[done] = True
            state.pop(asked, None)

        take_answer()

    st.button(label, key=key, icon=icon, disabled=disabled, on_click=ask_first)
    if state.get(asked) and not disabled:
        with st.container(border=True):
            st.warning(question, icon=":material/help:")
            with st.container(horizontal=True):
                st.button(t("action.confirm"), type="primary", key=f"{key}-yes", on_click=act)
                st.button(t("action.keep"), key=f"{key}-no", on_click=leave)
    if error := state.get(refused):
        refuse(error)


def take_done(key: str) -> bool:
    """Tell, once, whether the button of this key has acted since; it need not be shown any more."""
    return bool(st.session_state.pop(f"done-{key}", False))


def _answer(action: Callable[[], Any]) -> ApiError | ApiUnreachableError | None:
    """Act, and return what was refused."""
    try:
        action()
    except (ApiError, ApiUnreachableError) as error:
        return error
    return None
