"""Part of Submit: where the rows come from.

What is chosen above and what the draft holds are the same, or nothing can be submitted: a source that has given no data
yet (a file that was refused, a name not typed) stands in the session as `source_wanted`, and `blocker` says so.
"""

from __future__ import annotations

import re
from typing import Any

import streamlit as st

from finetune30.ui import display, form
from finetune30.ui.fields import get_value, put_value
from finetune30.ui.interruptions import finished_first
from finetune30.ui.session import ask, client, t
from finetune30.ui.views import preview, reading, uploading

Json = dict[str, Any]

STARTERS = ("starter", "starter-zh")
#: Those that give data only when a name, a file or a version is chosen.
SOURCES_OF_DATA = ("hub", "upload", "version")
SOURCES = (*STARTERS, *SOURCES_OF_DATA)
#: Where the API keeps files that were uploaded: below a folder named by their content.
UPLOADED = re.compile(r"(^|/)uploads/[0-9a-f]{16}/[^/]+$")
#: Rows that are used of the shipped example; other data are used whole unless somebody says otherwise.
EXAMPLE_LIMITS = {"train_samples": 500, "eval_samples": 100}


def show(*, has_faults: bool) -> None:
    """Show the choice and the look at the rows; `has_faults`: the draft can be asked nothing."""
    st.header(t("data_choice.title"), anchor=False)
    draft = form.load_draft() or {}
    present = _source_of(str(get_value(draft, "data.dataset_name")))
    key = form.widget_key("data-source")
    source = st.segmented_control(
        t("data_choice.source"),
        SOURCES,
        default=wanted() or present,
        required=True,
        format_func=lambda name: t(f"data_choice.{name}"),
        key=key,
        on_change=_take_source,
        args=(key,),
    )
    if source == "hub":
        _choose_hub(draft)
    elif source == "upload":
        if (stored := uploading.show()) is not None:
            _replace_data(stored["dataset_name"], stored["reading"])
            reading.read()
            st.rerun()
    elif source == "version":
        _choose_version(draft)
    if missing := wanted():
        st.warning(t(f"data_choice.first_{missing}"), icon=":material/pending:")
        return
    name = str(get_value(form.load_draft() or {}, "data.dataset_name"))
    st.caption(t("data_choice.chosen", name=display.plain(_short_name(name, present))))
    with st.container(horizontal=True):
        if st.button(t("data_choice.preview"), icon=":material/visibility:", disabled=has_faults):
            preview.look()
        if present == "upload":
            _offer_version()
    if present == "upload":
        reading.show()
    if present == "upload" and not has_faults:
        preview.renew()  # a file is read within seconds
    else:
        preview.forget_other()
    preview.show()


def wanted() -> str | None:
    """Return the source that was chosen and has given no data yet; None where the draft's data are the chosen ones."""
    source: str | None = st.session_state.get("source_wanted")
    return "upload" if uploading.refusal() is not None else source


def blocker() -> str | None:
    """Return why nothing can be trained on the data as chosen."""
    missing = wanted()
    return t(f"data_choice.first_{missing}") if missing else preview.blocker()


def forget_wanted() -> None:
    """What a preset or a configuration names is what is chosen."""
    st.session_state.pop("source_wanted", None)
    uploading.forget()


def choose(name: str) -> None:
    """Train on another data set, and draw the page anew."""
    _replace_data(name)
    st.rerun()


@finished_first
def _take_source(key: str) -> None:
    """A press on starter data chooses it at once; of another source it is known that its data are still wanted.

    Only a press: a preset may change the data beneath the widget.
    """
    if not form.is_present(key):
        return
    source = st.session_state[key]
    present = _source_of(str(get_value(form.load_draft() or {}, "data.dataset_name")))
    if source != "upload":
        uploading.forget()
    st.session_state.source_wanted = None if source == present else source
    if source in STARTERS:
        _replace_data(str(source))


@finished_first
def _replace_data(name: str, how: Json | None = None) -> None:
    """Put another data set into the draft: what described the one before is forgotten.

    `how`: keys below `data` that say how it is read.
    """
    draft = form.load_draft() or {}
    put_value(draft, "data.dataset_name", name)
    for key in (
        "dataset_config",
        "revision",
        "train_split",
        "eval_split",
        "eval_file",
        "offline_fallback",
        *uploading.READING_KEYS,
    ):
        put_value(draft, f"data.{key}", None)
    for key in (*preview.COLUMN_KEYS, "label_columns", "label_separator", "group_column"):
        put_value(draft, f"data.{key}", None)
    for key, limit in EXAMPLE_LIMITS.items():
        if get_value(draft, f"data.{key}") == limit:
            put_value(draft, f"data.{key}", None)
    for key, value in (how or {}).items():
        put_value(draft, f"data.{key}", value)
    st.session_state.pop("preview", None)
    forget_wanted()
    form.replace_draft(draft)


def _source_of(name: str) -> str:
    if name in STARTERS:
        return name
    if name.startswith("version:"):
        return "version"
    return "upload" if UPLOADED.search(name) else "hub"


def _short_name(name: str, kind: str) -> str:
    """A name as people know it: a version by the digits shown elsewhere, an upload without the API's folders."""
    return name[: len("version:") + 12] if kind == "version" else name.rpartition("/")[2] if kind == "upload" else name


def _choose_hub(draft: Json) -> None:
    name = str(get_value(draft, "data.dataset_name"))
    with st.form("hub", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        typed = st.text_input(
            t("data_choice.hub_name"),
            name if _source_of(name) == "hub" else "",
            help=t("data_choice.hub_help"),
            max_chars=1000,
            width=420,
        )
        if st.form_submit_button(t("data_choice.use")) and typed.strip():
            choose(typed.strip())


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
