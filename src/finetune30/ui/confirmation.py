"""A button that asks before it acts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from finetune30.ui.client import ApiUnreachableError
from finetune30.ui.session import ask, lost, t


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
    """Show a button; pressing it asks `question`, and only the second button acts, then calls `after`."""
    asked = f"asked-{key}"
    if st.button(label, key=key, icon=icon, disabled=disabled):
        st.session_state[asked] = True
    if not st.session_state.get(asked) or disabled:
        return
    with st.container(border=True):
        st.warning(question, icon=":material/help:")
        with st.container(horizontal=True):
            yes = st.button(t("action.confirm"), type="primary", key=f"{key}-yes")
            no = st.button(t("action.keep"), key=f"{key}-no")
    if not yes and not no:
        return
    del st.session_state[asked]
    try:
        done = ask(lambda: (action(), True)) if yes else (None, True)
    except ApiUnreachableError as error:
        lost(error)  # the banner says so; the person may press again
        return
    if done is not None:
        if yes and after:
            after()
        st.rerun()
