"""What validation found in data, and where every row went, as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from finetune30.ui import display
from finetune30.ui.session import t, t_or

Json = dict[str, Any]


def show_findings(report: Mapping[str, Any]) -> None:
    """Show the findings of a data report, or that there are none."""
    counts = report.get("findings_by_rule") or {}
    if not counts:
        st.success(t("findings.none"), icon=":material/check_circle:")
        return
    rows = [
        {t("findings.rule"): _rule(rule), t("findings.count"): _count(value)} for rule, value in sorted(counts.items())
    ]
    st.warning(t("findings.some", count=len(rows)), icon=":material/rule:")
    st.dataframe(pd.DataFrame(rows), hide_index=True)
    places = [
        {name: display.raw(value) if isinstance(value, str) else str(value) for name, value in finding.items()}
        for finding in (report.get("findings") or ())[:200]
        if isinstance(finding, Mapping)
    ]
    if places:
        with st.expander(t("findings.places")):
            st.dataframe(pd.DataFrame(places), hide_index=True)


def show_ledger(ledger: Mapping[str, Any]) -> None:
    """Show what became of every input row."""
    totals = ledger.get("totals") or {}
    if not totals:
        return
    rows = []
    for split, counts in totals.items():
        row = {t("ledger.split"): t_or(f"split.{split}", display.raw(split))}
        for name in ("input", "used", "truncated"):
            row[t(f"ledger.{name}")] = counts.get(name)
        for reason, count in (counts.get("dropped") or {}).items():
            row[t_or(f"ledger.dropped.{reason}", display.raw(reason))] = count
        rows.append(row)
    st.markdown(f"**{t('ledger.title')}**")
    st.dataframe(pd.DataFrame(rows), hide_index=True)


def _rule(rule: str) -> str:
    return t_or(f"rule.{rule}", display.raw(rule))


def _count(value: Any) -> Any:
    if isinstance(value, Mapping):
        return ", ".join(f"{display.raw(name)}: {count}" for name, count in value.items())
    return value
