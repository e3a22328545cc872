"""Data: dataset versions, their rows and labels, and what differs between two of them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from finetune30.ui import charts, display
from finetune30.ui.findings import show_findings
from finetune30.ui.session import ask, client, local_time, t
from finetune30.ui.views.data_choice import describe_version

Json = dict[str, Any]

PAGE_ROWS = 100
SPLITS = ("train", "evaluation")


def show() -> None:
    """Show the page."""
    st.title(t("data.title"))
    versions = ask(lambda: client().load_versions())
    if versions is None:
        return
    if not versions:
        st.info(t("data.empty"), icon=":material/dataset:")
        st.page_link(st.session_state.pages["submit"], label=t("action.submit_first"), icon=":material/rocket_launch:")
        return
    names = {str(version["digest"]): version for version in versions}
    _show_versions(versions)
    digest = st.selectbox(
        t("data.choose"), list(names), format_func=lambda name: describe_version(names[name]), key="data_version"
    )
    part = st.segmented_control(
        t("data.part"),
        ("rows", "report", "diff"),
        default="rows",
        required=True,
        format_func=lambda name: t(f"data.part_{name}"),
        key="data_part",
        label_visibility="collapsed",
    )
    if part == "rows":
        _show_rows(names[digest])
    elif part == "report":
        _show_report(digest)
    else:
        _show_difference(digest, names)


def _show_versions(versions: list[Json]) -> None:
    frame = pd.DataFrame(
        [
            {
                t("data.version"): str(version["digest"])[:12],
                t("data.tags"): display.raw(", ".join(version.get("tags") or ())),
                t("data.source"): display.raw((version.get("source") or {}).get("name", "")),
                **{t(f"split.{split}"): (version.get("rows") or {}).get(split) for split in SPLITS},
                t("data.labels"): display.raw(", ".join(version.get("label_names") or ())),
                t("data.created"): local_time(version.get("created_at")),
                t("column.utc"): display.utc_time(version.get("created_at")),
            }
            for version in versions
        ]
    )
    st.dataframe(frame, hide_index=True, height=min(38 * (len(versions) + 1) + 2, 300))


def _show_rows(version: Json) -> None:
    digest = str(version["digest"])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = st.segmented_control(
            t("ledger.split"),
            SPLITS,
            default="train",
            required=True,
            format_func=lambda name: t(f"split.{name}"),
            key="data_split",
        )
        total = int((version.get("rows") or {}).get(str(split)) or 0)
        pages = max(1, -(-total // PAGE_ROWS))
        page = st.pagination(pages, key=f"data-page-{digest}-{split}") if pages > 1 else 1
    found = ask(lambda: client().load_rows(digest, str(split), (page - 1) * PAGE_ROWS, PAGE_ROWS))
    if found is None:
        return
    rows = found.get("rows") or []
    labels = [str(name) for name in version.get("label_names") or ()]
    st.caption(t("data.relabel_hint"))
    edited = st.data_editor(
        pd.DataFrame(
            [
                {
                    t("data.origin"): display.raw(row.get("origin") or row.get("row_id") or ""),
                    t("compare.text"): display.raw(row.get("text") or "", 2000),
                    t("data.label"): str(row.get("label", "")),
                }
                for row in rows
            ]
        ),
        hide_index=True,
        disabled=[t("data.origin"), t("compare.text")],
        column_config={t("data.label"): st.column_config.SelectboxColumn(options=labels, required=True)}
        if labels
        else None,
        key=f"rows-{digest}-{split}-{page}",
    )
    changes = [
        {"split": split, "index": (page - 1) * PAGE_ROWS + number, "label": label}
        for number, (row, label) in enumerate(zip(rows, edited[t("data.label")], strict=True))
        if str(row.get("label", "")) != label
    ]
    _offer_new_version(digest, changes)


def _offer_new_version(digest: str, changes: list[Json]) -> None:
    if not changes:
        return
    with st.form("relabel"):
        note = st.text_input(t("data.note"), max_chars=500)
        if st.form_submit_button(t("data.relabel", count=len(changes)), type="primary"):
            made = ask(lambda: client().relabel(digest, changes, note))
            if made is not None:
                st.success(t("data.relabelled", digest=str(made.get("digest", ""))[:12]))


def _show_report(digest: str) -> None:
    version = ask(lambda: client().load_dataset(digest))
    if version is None:
        return
    statistics = version.get("statistics") or {}
    counts = statistics.get("label_counts") or version.get("label_counts") or {}
    if counts:
        by_split = counts if all(isinstance(value, dict) for value in counts.values()) else {"train": counts}
        charts.bars(by_split, title=t("data_choice.labels"), key="data-labels")
    if "findings_by_rule" in statistics:
        show_findings(statistics)
    st.json(version, expanded=1)


def _show_difference(digest: str, names: dict[str, Json]) -> None:
    others = [name for name in names if name != digest]
    if not others:
        st.info(t("data.one_version"))
        return
    before = st.selectbox(t("data.before"), others, format_func=lambda name: describe_version(names[name]))
    found = ask(lambda: client().compare_datasets(str(before), digest))
    if found is None:
        return
    counts = found.get("counts") or {}
    for place, (kind, count) in zip(st.columns(max(1, len(counts))), counts.items(), strict=False):
        place.metric(t(f"diff.{kind}"), display.number(count), border=True)
    rows = [{key: display.raw(value or "", 400) for key, value in row.items()} for row in found.get("rows") or ()]
    if rows:
        st.dataframe(pd.DataFrame(rows), hide_index=True)
