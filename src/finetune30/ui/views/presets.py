"""Part of Submit: which preset the draft begins from."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import display, form
from finetune30.ui.session import ask, client, language, t, t_or

Json = dict[str, Any]

DEFAULT = "default"


def choose(presets: dict[str, Json]) -> bool:
    """Show the choice and begin anew from another one; tell whether the draft is what the choice says.

    The choice is compared with the draft whenever the page is drawn: a callback would be called once, and what it asks
    the API may be cut short by the next press or find the API away.
    """
    names = list(presets)
    present = st.session_state.draft_preset if st.session_state.draft_preset in presets else names[0]
    chosen = st.selectbox(
        t("submit.preset"),
        names,
        index=names.index(present),
        format_func=lambda name: f"{name} · {_summary(presets[name])}",
        help=t("submit.preset_help"),
        key=form.widget_key("preset"),
    )
    if chosen != present and take(chosen):
        st.rerun()
    return chosen == present


def take(name: str) -> bool:
    """Begin anew from a preset; tell whether it could be read."""
    tree = ask(lambda: client().load_preset(name))
    if tree is None:
        return False
    form.start_from(name, tree)
    return True


def begin_with(config: Json) -> None:
    """Begin a submission with the whole configuration of a run, and go there; a refusal stays where it happens."""
    base = ask(lambda: client().load_preset(DEFAULT))
    if base is None:
        return
    form.start_from(DEFAULT, base, config)
    st.switch_page(st.session_state.pages["submit"])


def _summary(preset: Json) -> str:
    """What a preset is for; English ones come with the API."""
    summary = str(preset.get("summary") or "")
    return display.raw(summary if language() == "en" else t_or(f"preset.{preset['name']}", summary), 110)
