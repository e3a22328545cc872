"""Part of Submit: what an empty installation begins with, three ways in."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import streamlit as st

from finetune30.ui.interruptions import finished_first
from finetune30.ui.session import ask, client, t

#: The preset of the first card: everything that it needs is installed.
PRESET = "starter"
NAME = "first_run"


def show() -> bool:
    """Show the three cards where nothing was ever run here; tell whether they are shown (the form is not, then)."""
    if st.session_state.get("first_steps_passed") or not _is_empty():
        return False
    st.markdown(t("first.intro"))
    cards: tuple[tuple[str, str, Callable[[], None]], ...] = (
        ("try", ":material/rocket_launch:", _ask_to_start),
        ("own", ":material/upload_file:", lambda: _pass("upload")),
        ("hub", ":material/cloud_download:", lambda: _pass("hub")),
    )
    for place, (name, icon, press) in zip(st.columns(len(cards)), cards, strict=True):
        with place.container(border=True, height="stretch", vertical_alignment="distribute"):
            with st.container():
                st.header(t(f"first.{name}"), anchor=False)
                st.markdown(t(f"first.{name}_text"))
            st.button(
                t(f"first.{name}_button"),
                type="primary" if name == "try" else "secondary",
                icon=icon,
                key=f"first-{name}",
                on_click=press,
                width="stretch",
            )
    st.button(t("first.all_settings"), type="tertiary", icon=":material/tune:", key="first-all", on_click=_pass)
    if st.session_state.pop("first_start", False):
        _start()
    return True


def pass_by() -> None:
    """Show the form from now on: something is chosen already."""
    st.session_state.first_steps_passed = True


def _is_empty() -> bool:
    """Tell whether there is no run at all, archived ones too; once there is one, it is not asked again."""
    found = ask(lambda: client().find_experiments(limit=1, archived="all"))
    if found is None or found[0]:
        pass_by()
        return False
    return True


@finished_first
def _pass(source: str | None = None) -> None:
    pass_by()
    if source is not None:
        st.session_state.source_wanted = source


def _ask_to_start() -> None:
    st.session_state.first_start = True


def _start() -> None:
    """Submit the preset as it is, once however often it is pressed, and go where the run can be watched."""
    key = st.session_state.setdefault("first_start_key", uuid.uuid4().hex)
    answer = ask(lambda: client().submit({"preset": PRESET, "experiment_name": NAME}, key))
    if answer is not None:
        pass_by()
        st.session_state.submitted = answer
        st.switch_page(st.session_state.pages["follow"], query_params={"task": str(answer["task_id"])})
