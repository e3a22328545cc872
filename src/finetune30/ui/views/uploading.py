"""Part of Submit: a file that somebody drops here. A refused one stays refused, and visible, until it is replaced."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import display, form
from finetune30.ui.client import ApiError
from finetune30.ui.fields import get_value
from finetune30.ui.session import client, explain, refuse, t

Json = dict[str, Any]

#: Keys below `data` that say how an uploaded file is read.
READING_KEYS = ("encoding", "sheet")
FILE_TYPES = ["csv", "tsv", "json", "jsonl", "parquet", "xlsx", "ods", "gz", "zip"]
LARGEST_UPLOAD_MB = 200


def show() -> Json | None:
    """Show the place for a file; return what the API answered to a new one (and `reading`), once."""
    file = st.file_uploader(
        t("data_choice.file"),
        type=FILE_TYPES,
        help=t("data_choice.file_help"),
        max_upload_size=LARGEST_UPLOAD_MB,
        key="data_upload",
        on_change=forget,
    )
    stored = None
    reading = {key: get_value(form.load_draft() or {}, f"data.{key}") for key in READING_KEYS}
    if file is not None and _is_new(file.file_id, reading):
        stored = _send(file, reading)
    refused = refusal()
    if refused is not None:
        st.error(f"**{display.plain(refused['name'])}**\n\n{explain(refused['error'])}", icon=":material/error:")
        if file is not None and st.button(t("uploading.again"), icon=":material/refresh:", key="upload-again"):
            forget()
            st.session_state.pop("upload_taken", None)
            st.rerun()
    return stored


def refusal() -> Json | None:
    """Return name and error of the file that was refused last, until another one or another source is chosen."""
    refused: Json | None = st.session_state.get("upload_refused")
    return refused


def columns_of(dataset_name: str) -> list[str]:
    """Return the columns of the file that was uploaded last; none of any other data."""
    return [str(name) for name in st.session_state.get("uploaded_columns", {}).get(dataset_name, ())]


def forget() -> None:
    """Forget that a file was refused: it was taken away, or something else is chosen."""
    st.session_state.pop("upload_refused", None)


def _is_new(file_id: str, reading: Json) -> bool:
    """Tell whether a file was not sent yet; one that was refused is sent again where it would be read otherwise."""
    refused = refusal()
    if refused is not None:
        return bool(refused["reading"] != reading)
    return bool(file_id != st.session_state.get("upload_taken"))


def _send(file: Any, reading: Json) -> Json | None:
    try:
        with st.spinner(t("uploading.reading", name=display.plain(file.name))):
            stored = client().upload(file.name, file.getvalue(), reading)
    except ApiError as error:
        st.session_state.upload_refused = {"name": file.name, "error": error.as_dict(), "reading": reading}
        st.session_state.upload_taken = file.file_id
        if error.status == 401:
            refuse(error)
        return None
    forget()
    st.session_state.upload_taken = file.file_id
    st.session_state.uploaded_columns = {stored["dataset_name"]: stored["columns"]}
    return {**stored, "reading": reading}
