"""Part of a run: its files, and the model as one of them to take away."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.layout import show_table
from finetune30.ui.session import ask, client, t
from finetune30.ui.states import FINAL
from finetune30.ui.views import run_exports
from finetune30.ui.views.run_exports import LARGEST_DOWNLOAD_BYTES

Json = dict[str, Any]


def show(run: Json) -> None:
    """Show the part of a run."""
    if run["status"] != "SUCCEEDED":
        st.info(t("run.never_files" if run["status"] in FINAL else "run.no_files"), icon=":material/folder_off:")
        return
    answer = ask(lambda: client().load_artifacts(run["id"]))
    if not answer:
        return
    _show_package(run, answer.get("package_bytes"))
    run_exports.show(run)
    files = answer["artifacts"]
    columns = {
        t("run.file"): [display.raw(file["name"]) for file in files],
        t("run.size"): [display.size(file["size"]) for file in files],
        "sha256": [str(file.get("sha256", ""))[:16] for file in files],
    }
    show_table(columns, alt=t("run.part_files"))
    small = [file["name"] for file in files if file["size"] <= LARGEST_DOWNLOAD_BYTES]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox(t("run.file_choose"), small, format_func=display.raw, width=480)
        api = client()
        if name:
            st.download_button(
                t("run.file_download"),
                lambda: api.load_artifact(run["id"], name),
                file_name=name.rpartition("/")[2],
                icon=":material/download:",
                on_click="ignore",
            )


def _show_package(run: Json, size: int | None) -> None:
    """The model as one file to take away, with the lines that use it."""
    st.markdown(f"**{t('run.package')}**")
    st.caption(t("run.package_help"))
    if size is not None and size <= LARGEST_DOWNLOAD_BYTES:
        api = client()
        st.download_button(
            t("run.package_download", size=display.size(size)),
            lambda: api.load_model_package(run["id"]),
            file_name=f"{run['folder']}.zip",
            mime="application/zip",
            type="primary",
            icon=":material/deployed_code_update:",
            on_click="ignore",
        )
    else:
        st.text(t("run.package_large" if size else "run.package_fault"))
        st.code(f"ft30 export {str(run['id'])[:8]}", language="bash", wrap_lines=True)
    lines = f'unzip "{run["folder"]}.zip"\npython "{run["folder"]}/use_model.py" "some text"'
    st.code(lines, language="bash", wrap_lines=True)
