"""Part of Submit: the draft as a command and as YAML, which may be edited, uploaded and downloaded."""

from __future__ import annotations

from typing import Any

import streamlit as st
import yaml

from finetune30.ui import display, form
from finetune30.ui.client import ApiError
from finetune30.ui.command import submit_command
from finetune30.ui.fields import Field, get_value
from finetune30.ui.session import client, in_own_words, show_error, t
from finetune30.ui.views import data_choice, presets
from finetune30.ui.views.faults import describe_fault

Json = dict[str, Any]


def show(fields: dict[str, Field]) -> None:
    """Show the folded place."""
    text = dump_yaml(form.load_draft() or {})
    with st.expander(t("submit.written"), icon=":material/code:"):
        st.caption(t("submit.command_help"))
        st.code(submit_command(form.build_request(), fields), language="bash", wrap_lines=True)
        st.caption(t("submit.yaml_help"))
        # The widget's name changes with the draft, so that it shows what the form says.
        edited = st.text_area(
            t("submit.yaml"), text, height=320, key=f"yaml-{hash(text)}", label_visibility="collapsed"
        )
        with st.container(horizontal=True):
            taken = st.button(t("submit.yaml_take"), icon=":material/check:")
            st.download_button(
                t("submit.yaml_download"),
                text.encode(),
                file_name="config.yaml",
                mime="application/yaml",
                icon=":material/download:",
                on_click="ignore",
            )
        if taken:
            _take_yaml(edited)
        uploaded = st.file_uploader(t("submit.yaml_upload"), type=["yaml", "yml"], max_upload_size=1, key="yaml_upload")
        if uploaded is not None and uploaded.file_id != st.session_state.get("yaml_taken"):
            st.session_state.yaml_taken = uploaded.file_id
            _take_yaml(uploaded.getvalue().decode("utf-8", errors="replace"))
        for text in st.session_state.pop("yaml_notes", []):
            st.info(display.plain(in_own_words(text), 500))


def dump_yaml(tree: Json) -> str:
    """Return a configuration as YAML in its own order."""
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=4096)


def _take_yaml(text: str) -> None:
    try:
        checked = client().check_config({"yaml": text})
    except ApiError as error:
        if not error.faults:
            show_error(error)
        for fault in sorted(error.faults, key=lambda fault: int(fault.get("line") or 0)):
            said = ": ".join(part for part in (str(fault.get("key") or ""), describe_fault(fault)) if part)
            shown = display.plain(said, 1000)
            placed = t("submit.yaml_fault", line=fault["line"], fault=shown) if fault.get("line") else shown
            st.error(placed, icon=":material/error:")
        return
    if st.session_state.draft_preset != presets.DEFAULT and not presets.take(presets.DEFAULT):
        return
    if get_value(checked["config"], "data.dataset_name") != get_value(form.load_draft() or {}, "data.dataset_name"):
        data_choice.forget_wanted()
    form.replace_draft(checked["config"])
    st.session_state.yaml_notes = checked.get("notes", [])
    st.rerun()
