"""What people wrote on a run: star, tags and note on its page, and the dialog in which they are changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.client import ApiError, ApiUnreachableError
from finetune30.ui.session import client, explain, lost, refuse, t

Json = dict[str, Any]

MOST_TAGS = 10
LONGEST_TAG = 32
LONGEST_NAME = 80
LONGEST_NOTE = 4000
_EDITING = "run_editing"


def show_marks(run: Json) -> None:
    """Show what was written on a run, and buttons that change it. An API without such words shows nothing."""
    if "edits" not in run:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        starred = bool(run.get("starred"))
        label = t("marks.unstar") if starred else t("marks.star")
        icon = ":material/star:" if starred else ":material/star_border:"
        if st.button(label, icon=icon, key=f"star-{run['id']}", type="tertiary"):
            _change(run, {"starred": not starred})
        if st.button(t("marks.edit"), icon=":material/edit:", key=f"edit-{run['id']}", type="tertiary"):
            st.session_state[_EDITING] = run["id"]
            st.session_state.pop("run_edit_fault", None)
        if run.get("archived"):
            st.badge(t("marks.archived"), icon=":material/inventory_2:", color="gray")
        for tag in run.get("tags") or ():
            st.badge(display.plain(tag, LONGEST_TAG), icon=":material/sell:", color="blue")
    if run.get("note"):
        st.markdown(display.plain_lines(run["note"], LONGEST_NOTE))
    if error := st.session_state.pop("run_star_fault", None):
        refuse(error)
    if st.session_state.get(_EDITING) == run["id"]:
        _open_editor(run)


def _change(run: Json, changes: Json) -> None:
    try:
        client().edit_experiment(str(run["id"]), changes, int(run["edits"]))
    except ApiUnreachableError as error:
        lost(error)
        st.error(t("confirm.away"), icon=":material/cloud_off:")
        return
    except ApiError as error:
        st.session_state.run_star_fault = error
    st.rerun()


def _open_editor(run: Json) -> None:
    def leave() -> None:
        st.session_state.pop(_EDITING, None)

    def draw() -> None:
        name = st.text_input(t("marks.name"), run["name"], max_chars=LONGEST_NAME, help=t("marks.name_help"))
        note = st.text_area(t("marks.note"), run.get("note") or "", max_chars=LONGEST_NOTE, height=140)
        tags = choose_tags(t("marks.tags"), run.get("tags") or [], run.get("tags") or [], "edit-tags")
        archived = st.toggle(t("marks.archive"), bool(run.get("archived")), help=t("marks.archive_help"))
        if fault := st.session_state.get("run_edit_fault"):
            st.error(fault, icon=":material/error:")
        with st.container(horizontal=True, horizontal_alignment="right"):
            if st.button(t("marks.leave"), key="edit-leave"):
                leave()
                st.rerun()
            if st.button(t("marks.save"), type="primary", key="edit-save"):
                _save(run, {"name": name.strip(), "note": note, "tags": tags, "archived": archived})

    st.dialog(t("marks.edit_title"), on_dismiss=leave)(draw)()


def _save(run: Json, wanted: Json) -> None:
    changes = {key: value for key, value in wanted.items() if value != _present(run)[key]}
    try:
        if changes:
            client().edit_experiment(str(run["id"]), changes, int(run["edits"]))
    except ApiUnreachableError as error:
        lost(error)
        st.session_state.run_edit_fault = t("confirm.away")
        st.rerun(scope="fragment")
    except ApiError as error:
        fault = explain(error.as_dict())
        st.session_state.run_edit_fault = t("marks.conflict") if error.status == 409 else fault
        st.rerun(scope="fragment")
    st.session_state.pop(_EDITING, None)
    st.session_state.pop("run_edit_fault", None)
    st.rerun()


def _present(run: Mapping[str, Any]) -> Json:
    return {
        "name": run["name"],
        "note": run.get("note") or "",
        "tags": list(run.get("tags") or []),
        "archived": bool(run.get("archived")),
    }


def choose_tags(label: str, known: list[str], chosen: list[str], key: str) -> list[str]:
    """Show a field for tags, known ones to choose from and others to type; return them."""
    options = list(dict.fromkeys([*chosen, *known]))
    picked: list[str] = st.multiselect(
        label,
        options,
        chosen,
        accept_new_options=True,
        max_selections=MOST_TAGS,
        placeholder=t("marks.tags_hint"),
        help=t("marks.tags_help"),
        key=key,
    )
    return picked
