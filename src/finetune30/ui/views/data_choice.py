"""Part of Submit: where the rows come from, and a look at them before anything is trained."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import charts, display, form
from finetune30.ui.fields import get_value, put_value
from finetune30.ui.findings import show_detected, show_files, show_findings, show_gate, show_ledger, show_rule_shares
from finetune30.ui.interruptions import finished_first
from finetune30.ui.layout import show_table
from finetune30.ui.rows import columns_of, title_of
from finetune30.ui.session import ask, client, t

Json = dict[str, Any]

SOURCES = ("starter", "starter-zh", "hub", "upload", "version")
#: Keys below `data` that say how an uploaded file is read.
READING_KEYS = ("encoding", "sheet")
FILE_TYPES = ["csv", "tsv", "json", "jsonl", "parquet", "xlsx", "ods", "gz", "zip"]
COLUMN_KEYS = ("text_column", "text_pair_column", "label_column")
LARGEST_UPLOAD_MB = 200


def show() -> None:
    """Show the choice and the preview."""
    st.subheader(t("data_choice.title"), anchor=False)
    draft = form.load_draft() or {}
    present = _source_of(str(get_value(draft, "data.dataset_name")))
    key = form.widget_key("data-source")
    source = st.segmented_control(
        t("data_choice.source"),
        SOURCES,
        default=present,
        required=True,
        format_func=lambda name: t(f"data_choice.{name}"),
        key=key,
        on_change=_take_starter,
        args=(key,),
    )
    if source == "hub":
        _choose_hub(draft)
    elif source == "upload":
        _choose_upload()
    elif source == "version":
        _choose_version(draft)
    name = str(get_value(form.load_draft() or {}, "data.dataset_name"))
    st.caption(t("data_choice.chosen", name=display.plain(_short_name(name))))
    with st.container(horizontal=True):
        if st.button(t("data_choice.preview"), icon=":material/visibility:"):
            st.session_state.preview = ask(lambda: client().preview(form.build_request()))
        if source == "upload" and present == "upload":
            _offer_version()
    if st.session_state.get("preview"):
        _show_preview(st.session_state.preview)


def choose(name: str, reading: Json | None = None) -> None:
    """Train on another data set, and draw the page anew; `reading`: keys below `data` that say how it is read."""
    _replace_data(name, reading)
    st.rerun()


@finished_first
def _take_starter(key: str) -> None:
    """A press on starter data chooses it at once. Only a press: a preset may change the data beneath the widget."""
    if form.is_present(key) and st.session_state[key] in ("starter", "starter-zh"):
        _replace_data(str(st.session_state[key]))


@finished_first
def _replace_data(name: str, reading: Json | None = None) -> None:
    """Put another data set into the draft: what described the one before is forgotten."""
    draft = form.load_draft() or {}
    put_value(draft, "data.dataset_name", name)
    for key in (
        "dataset_config",
        "revision",
        "train_split",
        "eval_split",
        "eval_file",
        "offline_fallback",
        *READING_KEYS,
    ):
        put_value(draft, f"data.{key}", None)
    for key in (*COLUMN_KEYS, "label_columns"):
        put_value(draft, f"data.{key}", None)
    for key, value in (reading or {}).items():
        put_value(draft, f"data.{key}", value)
    st.session_state.pop("preview", None)
    form.replace_draft(draft)


def _source_of(name: str) -> str:
    if name in ("starter", "starter-zh"):
        return name
    if name.startswith("version:"):
        return "version"
    return "upload" if name == st.session_state.get("uploaded_name") else "hub"


def _short_name(name: str) -> str:
    """A name as people know it: a version by the digits shown elsewhere, an upload without the API's folders."""
    kind = _source_of(name)
    return name[: len("version:") + 12] if kind == "version" else name.rpartition("/")[2] if kind == "upload" else name


def _choose_hub(draft: Json) -> None:
    name = str(get_value(draft, "data.dataset_name"))
    with st.form("hub", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.text_input(
            t("data_choice.hub_name"),
            name if _source_of(name) == "hub" else "",
            help=t("data_choice.hub_help"),
            max_chars=1000,
            width=420,
        )
        if st.form_submit_button(t("data_choice.use")) and wanted.strip() and wanted.strip() != name:
            choose(wanted.strip())


def _choose_upload() -> None:
    file = st.file_uploader(
        t("data_choice.file"), type=FILE_TYPES, help=t("data_choice.file_help"), max_upload_size=LARGEST_UPLOAD_MB
    )
    if file is None or file.file_id == st.session_state.get("upload_taken"):
        return
    draft = form.load_draft() or {}
    reading = {key: get_value(draft, f"data.{key}") for key in READING_KEYS}
    stored = ask(lambda: client().upload(file.name, file.getvalue(), reading))
    st.session_state.upload_taken = file.file_id
    if stored is not None:
        st.session_state.uploaded_name = stored["dataset_name"]
        choose(stored["dataset_name"], reading)


def _offer_version() -> None:
    """Keep the rows of the upload as a version, with the columns chosen by now, and train on that."""
    if st.button(t("data_choice.keep"), icon=":material/inventory_2:", help=t("data_choice.keep_help")):
        made = ask(lambda: client().create_version(form.build_request()))
        if made is not None:
            choose(f"version:{made['digest']}")


def _choose_version(draft: Json) -> None:
    versions = ask(lambda: client().load_versions())
    if versions is None:
        return
    if not versions:
        st.info(t("data_choice.no_versions"))
        return
    names = {f"version:{version['digest']}": version for version in versions}
    present = str(get_value(draft, "data.dataset_name"))
    chosen = st.selectbox(
        t("data_choice.version_name"),
        list(names),
        index=list(names).index(present) if present in names else None,
        format_func=lambda name: describe_version(names[name]),
        placeholder=t("data_choice.version_name"),
    )
    if chosen and chosen != present:
        choose(chosen)


def describe_version(version: Json) -> str:
    """Return one line about a dataset version."""
    rows = version.get("rows") or {}
    counts = " + ".join(display.number(count) for count in rows.values()) if isinstance(rows, dict) else str(rows)
    source = version.get("source") or {}
    tags = ", ".join(version.get("tags") or ())
    parts = [str(version["digest"])[:12], tags, source_name(source), counts]
    return display.raw(" · ".join(part for part in parts if part), 120)


def source_name(source: Json) -> str:
    """Where the rows came from; of a file its name, without the folders above it."""
    return str(source.get("name", "")).rpartition("/")[2]


def _show_preview(preview: Json) -> None:
    with st.container(border=True):
        _show_columns(preview)
        rows = preview.get("rows") or []
        st.caption(t("data_choice.first_rows", count=len(rows)))
        show_table([_describe_row(row, preview) for row in rows], alt=t("data_choice.preview"), most_pixels=260)
        if preview.get("label_counts"):
            charts.bars(preview["label_counts"], title=t("data_choice.labels"), key="preview-labels")
        report = preview.get("report") or {}
        show_detected(report.get("detected") or [])
        show_files(report.get("files") or [])
        show_gate(report)
        show_rule_shares(report.get("rule_shares") or [])
        show_findings(report)
        show_ledger(preview.get("ledger") or {})


def _describe_row(row: Json, preview: Json) -> Json:
    names = [name for role in ("target", "text") for name in columns_of({"columns": preview["row_columns"]}, role)]
    return {
        t("ledger.split"): t(f"split.{row['split']}"),
        **{title_of(name): display.raw(row[name], 400) for name in names if row.get(name)},
        t("data.origin"): display.raw(row.get("origin", "")),
    }


def _show_columns(preview: Json) -> None:
    """Offer other columns for the keys that the configuration has for them."""
    available = [str(name) for name in (preview.get("columns") or {}).get("available") or ()]
    keys = [key for key in COLUMN_KEYS if key in preview["named_columns"]]
    if not available or not keys:
        return
    draft = form.load_draft() or {}
    guesses = {key: preview["named_columns"][key] for key in keys}
    chosen = {}
    for place, key in zip(st.columns(3), keys, strict=False):
        guessed = guesses[key]
        options = [form.EMPTY, *available]
        chosen[key] = place.selectbox(
            form.field_label(f"data.{key}"),
            options,
            index=options.index(guessed) if guessed in options else 0,
            format_func=lambda name: t("form.automatic") if name == form.EMPTY else display.raw(name),
            key=f"column-{key}-{st.session_state.get('draft_generation', 0)}",
        )
    wanted = {key: None if name == form.EMPTY else name for key, name in chosen.items()}
    if wanted == guesses:
        return
    if st.button(t("data_choice.use_columns"), icon=":material/check:"):
        # Of several label columns a column was made that no file has: it is no choice, another one replaces them.
        if wanted["label_column"] == guesses["label_column"] and get_value(draft, "data.label_columns"):
            wanted.pop("label_column")
        else:
            put_value(draft, "data.label_columns", None)
        for key, name in wanted.items():
            put_value(draft, f"data.{key}", name)
        st.session_state.preview = ask(lambda: client().preview(form.build_request()))
        st.rerun()
