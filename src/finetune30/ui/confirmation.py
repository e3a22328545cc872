"""A button that asks before it acts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from finetune30.ui.client import ApiError, ApiUnreachableError
from finetune30.ui.session import lost, refuse, t


def confirmed_button(
    label: str,
    question: str,
    action: Callable[[], Any],
    *,
    key: str,
    icon: str,
    disabled: bool = False,
    after: Callable[[], Any] | None = None,
) -> None:
    """Show a button; pressing it asks `question`, and only the second button acts, then calls `after`.

    All three buttons act in callbacks, which run before the page is drawn: a page that draws itself anew every two
    seconds cannot lose a press between the drawing and the next one. What the API refused stays until the next press.
    """
    asked, refused, done = (f"{what}-{key}" for what in ("asked", "refused", "done"))
    state = st.session_state

    def ask_first() -> None:
        state[asked] = True
        state.pop(refused, None)

    def act() -> None:
        try:
            action()
        except ApiUnreachableError as error:
            lost(error)  # the banner says so; the question stays, the person may press again
            return
        except ApiError as error:
            state[refused] = error
        else:
            state[done] = True
        state.pop(asked, None)

    st.button(label, key=key, icon=icon, disabled=disabled, on_click=ask_first)
    if state.get(asked) and not disabled:
        with st.container(border=True):
            st.warning(question, icon=":material/help:")
            with st.container(horizontal=True):
                st.button(t("action.confirm"), type="primary", key=f"{key}-yes", on_click=act)
                st.button(t("action.keep"), key=f"{key}-no", on_click=lambda: state.pop(asked, None))
    if error := state.get(refused):
        refuse(error)
    if state.pop(done, False) and after:
        after()
