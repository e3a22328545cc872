"""Data: dataset versions, their rows and labels, what is wrong with them, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.layout import show_figures, show_table
from finetune30.ui.rows import cell_of, columns_of, text_of, title_of
from finetune30.ui.run_header import show_moment
from finetune30.ui.session import ask, client, local_time, t
from finetune30.ui.views import data_care, relabelling, suspects, version_tokens
from finetune30.ui.views.data_choice import describe_version, source_name

Json = dict[str, Any]

#: Parts of every version; `TOKENS` is one of those whose rows have tokens of several kinds.
PARTS = ("rows", "suspects", "report", "quarantine", "diff")
TOKENS = "tokens"
SPLITS = ("train", "evaluation")
DIFF_KINDS = ("added", "removed", "relabelled", "changed", "unchanged")


def show() -> None:
    """Show the page."""
    st.title(t("data.title"), anchor=False)
    versions = ask(lambda: client().load_versions())
    if versions is None:
        return
    if not versions:
        st.info(t("data.empty"), icon=":material/dataset:")
        st.page_link(st.session_state.pages["submit"], label=t("action.submit_first"), icon=":material/rocket_launch:")
        return
    names = {str(version["digest"]): version for version in versions}
    _show_versions(versions)
    digest = _choose_version(names)
    _show_actions(names[digest])
    relabelling.show_made()
    parts = (PARTS[0], TOKENS, *PARTS[1:]) if names[digest]["has_token_kinds"] else PARTS
    if st.session_state.get("data_part") not in parts:  # chosen at a version that has more of them
        st.session_state.pop("data_part", None)
    part = st.segmented_control(
        t("data.part"),
        parts,
        default=PARTS[0],
        required=True,
        format_func=lambda name: t(f"data.part_{name}"),
        key="data_part",
        label_visibility="collapsed",
        persist_state="session",
    )
    if part == "rows":
        relabelling.show_rows(names[digest])
    elif part == TOKENS:
        version_tokens.show(names[digest])
    elif part == "suspects":
        suspects.show(names[digest])
    elif part == "report":
        data_care.show_report(digest)
    elif part == "quarantine":
        data_care.show_quarantine(digest)
    else:
        _show_difference(digest, names)


def _choose_version(names: dict[str, Json]) -> str:
    """The version of the address (`?version=`), else the one chosen here."""
    address = st.query_params.get("version", "")
    if st.session_state.get("data_address") != address:
        st.session_state.data_address = address
        found = [digest for digest in names if address and digest.startswith(address)]
        if len(found) == 1:
            st.session_state.data_version = found[0]
    if st.session_state.get("data_version") not in names:
        st.session_state.data_version = next(iter(names))
    digest: str = st.selectbox(
        t("data.choose"), list(names), format_func=lambda name: describe_version(names[name]), key="data_version"
    )
    if digest[:12] != address[:12]:
        st.session_state.data_address = st.query_params["version"] = digest[:12]
    return digest


def _show_versions(versions: list[Json]) -> None:
    """Show a line for each version; columns in which none has anything are left out."""
    columns: dict[str, list[Any]] = {
        t("data.version"): [str(version["digest"])[:12] for version in versions],
        t("data.tags"): [display.raw(", ".join(version.get("tags") or ())) for version in versions],
        t("data.source"): [display.raw(source_name(version.get("source") or {})) for version in versions],
        **{t(f"split.{split}"): [(one.get("rows") or {}).get(split) for one in versions] for split in SPLITS},
        t("data.labels"): [display.raw(", ".join(version.get("label_names") or ())) for version in versions],
        t("data.note_column"): [display.raw(version.get("note") or "") for version in versions],
        t("data.created"): [local_time(version.get("created_at")) for version in versions],
    }
    told = {name: cells for name, cells in columns.items() if any(cell not in (None, "") for cell in cells)}
    show_table(told, alt=t("data.title"), most_pixels=260)


def _show_actions(version: Json) -> None:
    """Train on the version, and its tags: who has one can call it by that name everywhere."""
    digest = str(version["digest"])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            st.session_state.pages["submit"],
            label=t("data.train"),
            icon=":material/rocket_launch:",
            query_params={"data": f"version:{digest}"},
        )
        for tag in version.get("tags") or ():
            label = t("data.untag", tag=display.plain(tag, 80))
            pressed = st.button(label, icon=":material/label_off:", key=f"untag-{tag}", help=t("data.untag_help"))
            if pressed and ask(lambda tag=tag: client().untag_dataset(digest, tag)) is not None:  # type: ignore[misc]
                st.rerun()
        with st.popover(t("data.tag"), icon=":material/label:"), st.form("tag", border=False, clear_on_submit=True):
            tag = st.text_input(t("data.tag_name"), max_chars=80, help=t("data.tag_help"))
            move = st.checkbox(t("data.tag_move"), help=t("data.tag_move_help"))
            given = st.form_submit_button(t("data.tag_give"), type="primary") and tag.strip()
            if given and ask(lambda: client().tag_dataset(digest, tag.strip(), move=move)) is not None:
                st.rerun()
        show_moment(t("data.created"), version.get("created_at"))


def _show_difference(digest: str, names: dict[str, Json]) -> None:
    others = [name for name in names if name != digest]
    if not others:
        st.info(t("data.one_version"))
        return
    parent = names[digest].get("parent")
    before = st.selectbox(
        t("data.before"),
        others,
        index=others.index(parent) if parent in others else 0,
        format_func=lambda name: describe_version(names[name]),
        key=f"diff-{digest}",
    )
    found = ask(lambda: client().compare_datasets(str(before), digest))
    if found is None:
        return
    counts = found.get("counts") or {}
    show_figures((t(f"diff.{kind}"), display.number(counts.get(kind))) for kind in DIFF_KINDS)
    rows = found.get("rows") or []
    if not rows:
        st.success(t("diff.none"), icon=":material/check_circle:")
        return
    texts = columns_of(found, "text")
    columns = {
        t("diff.kind"): [t(f"diff.{row['kind']}") for row in rows],
        t("ledger.split"): [t(f"split.{row['split']}") for row in rows],
        t("compare.text"): [display.raw(text_of(row, texts), 400) for row in rows],
    }
    for name in columns_of(found, "target"):
        title = title_of(name)
        columns[title] = [display.raw(cell_of(row.get(name))) for row in rows]
        columns[t("diff.before", name=title)] = [display.raw(cell_of(row.get(f"{name}_before"))) for row in rows]
    columns[t("diff.text_before")] = [_former_text(row, texts) for row in rows]
    columns[t("data.origin")] = [display.raw(row.get("origin") or "") for row in rows]
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    st.caption(t("data.shown_rows", shown=display.number(len(rows)), total=display.number(_differing(counts))))
    show_table(shown, alt=t("data.part_diff"))


def _former_text(row: Json, texts: Sequence[str]) -> str:
    before = text_of(row, texts, "_before")
    return display.raw(before, 400) if before != text_of(row, texts) else ""


def _differing(counts: Json) -> int:
    return sum(int(count) for kind, count in counts.items() if kind != "unchanged")
