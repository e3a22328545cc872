"""Part of Data: what validation and analysis say about a version, and the rows that a training would set aside."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import charts, display
from finetune30.ui.findings import show_analysis, show_detected, show_quarantine_rows, show_rule_shares, show_summary
from finetune30.ui.layout import fold
from finetune30.ui.session import ask, client, in_own_words, t

Json = dict[str, Any]


def show_report(digest: str) -> None:
    """Show the report of a version."""
    report = _load(digest)
    if report is None:
        return
    analysis = report.get("analysis") or {}
    show_analysis(analysis)
    counts = {split: part.get("label_counts") or {} for split, part in (analysis.get("splits") or {}).items()}
    charts.bars(counts, title=t("data_choice.labels"), key="data-labels")
    show_detected(report.get("detected") or [])
    show_rule_shares(report.get("rule_shares") or [])
    show_summary(report.get("summary") or [], report.get("findings") or [])
    whole = fold(t("run.report_whole"), "data-report", ":material/data_object:")
    if whole.open:
        whole.json({name: value for name, value in report.items() if name != "quarantine"}, expanded=1)


def show_quarantine(digest: str) -> None:
    """Show the rows of a version that a training would set aside, and whether it would start."""
    report = _load(digest)
    if report is None:
        return
    if report.get("refusal"):
        st.error(
            t("quarantine.refused", reason=display.plain(in_own_words(str(report["refusal"])), 1000)),
            icon=":material/block:",
        )
    if not report.get("set_aside"):
        st.success(t("quarantine.none"), icon=":material/check_circle:")
        return
    st.caption(t("quarantine.of_version"))
    show_quarantine_rows(report.get("quarantine") or [], int(report["set_aside"]), f"quarantine-{digest[:12]}.csv")


def _load(digest: str) -> Json | None:
    """The report, asked for once a visit: the same digest is always the same report."""
    held: dict[str, Json] = st.session_state.setdefault("version_reports", {})
    if digest not in held:
        with st.spinner(t("data.report_loading")):
            report = ask(lambda: client().load_dataset_report(digest))
        if report is None:
            return None
        held.clear()
        held[digest] = report
    return held[digest]
