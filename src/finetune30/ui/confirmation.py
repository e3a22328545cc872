"""A button that asks before it acts: what will happen stands in a dialog over the page."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import streamlit as st

from finetune30.ui.client import ApiError, ApiUnreachableError
from finetune30.ui.interruptions import finished_first
from finetune30.ui.session import lost, refuse, t

#: Where the session keeps the key of the one button that has asked and waits for its answer.
ASKED = "confirmation_asked"


def confirmed_button(
    label: str,
    question: str | Callable[[], None],
    action: Callable[[], Any],
    *,
    key: str,
    icon: str,
    confirm: str,
    danger: bool = False,
    disabled: bool = False,
) -> None:
    """Show a button; pressing it opens a dialog with the question (or what draws it), and only `confirm` acts.

    `confirm` says what is done, red with `danger`. All presses act in callbacks, which run before anything is drawn: a
    page that draws itself anew every two seconds cannot lose one. What the API refused stays until the next press;
    while it is away the dialog says that nothing was done, and stays. That it was done is told by `take_done`.
    """
    refused, state = f"refused-{key}", st.session_state

    @finished_first
    def ask_first() -> None:
        state[ASKED] = key
        state.pop(refused, None)

    if st.button(label, key=key, icon=icon, disabled=disabled, on_click=ask_first):
        st.rerun()  # all of the page: what draws itself anew stops while it asks
    if state.get(ASKED) == key and not disabled:
        _show_dialog(label, question, action, key=key, confirm=confirm, danger=danger)
    if error := state.get(refused):
        refuse(error)


def is_asking() -> bool:
    """Tell whether a dialog waits for its answer: drawing it anew would take the focus from whoever answers."""
    return ASKED in st.session_state


def take_done(key: str) -> bool:
    """Tell, once, whether the button of this key has acted since; it need not be shown any more."""
    return bool(st.session_state.pop(f"done-{key}", False))


def _show_dialog(
    title: str, question: str | Callable[[], None], action: Callable[[], Any], *, key: str, confirm: str, danger: bool
) -> None:
    state, away = st.session_state, f"away-{key}"

    @finished_first
    def leave() -> None:
        state.pop(ASKED, None)
        state.pop(away, None)

    def act() -> None:
        answer = functools.cache(lambda: _answer(action))  # asked for once, however often what follows begins again

        @finished_first
        def take_answer() -> None:
            error = answer()
            state[away] = isinstance(error, ApiUnreachableError)
            if isinstance(error, ApiUnreachableError):
                lost(error)  # the question stays, the person may press again
                return
            if error:
                state[f"refused-{key}"] = error
            else:
                state[f"done-{key}"] = True
            state.pop(ASKED, None)

        take_answer()

    def draw() -> None:
        if state.get(ASKED) != key:  # answered: the page closes the dialog by not drawing it
            st.rerun()
        if callable(question):
            question()
        else:
            st.markdown(question)
        if state.get(away):
            st.error(t("confirm.away"), icon=":material/cloud_off:")
        with st.container(horizontal=True, horizontal_alignment="right"):
            st.button(t("action.keep"), key=f"{key}-no", on_click=leave)
            with st.container(key=f"danger-{key}" if danger else f"confirm-{key}", width="content"):
                st.button(confirm, type="primary", key=f"{key}-yes", on_click=act)

    st.dialog(title, on_dismiss=leave)(draw)()


def _answer(action: Callable[[], Any]) -> ApiError | ApiUnreachableError | None:
    """Act, and return what was refused."""
    try:
        action()
    except (ApiError, ApiUnreachableError) as error:
        return error
    return None
