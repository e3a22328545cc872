"""What validation and analysis found in data, and where every row went, as a person reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.layout import show_figures, show_table
from finetune30.ui.rows import text_of
from finetune30.ui.session import in_own_words, t, t_or

Json = dict[str, Any]

SHOWN_PLACES = 200
SHOWN_LINES = 5
#: What a report says about the reading of a text file.
READING = ("encoding", "separator", "quotes")
READING_NAMES = {
    ",": "comma",
    ";": "semicolon",
    "\t": "tab",
    "|": "bar",
    "plain characters": "quotes_plain",
    "around cells": "quotes_cells",
    "single ones around cells": "quotes_single",
    "around cells, escaped by backslashes": "quotes_backslash",
}
SPLITS = ("train", "evaluation")
LENGTHS = ("characters", "words", "tokens")
#: Beside these a row that was set aside has its texts.
QUARANTINE_COLUMNS = ("row_id", "split", "reason", "place", "fix", "label")


def show_detected(detected: Sequence[Json]) -> None:
    """Show what rows were taken for, on what evidence, and which setting says otherwise."""
    if not detected:
        return
    columns = {
        t("detected.found"): [display.raw(in_own_words(str(entry.get("found", ""))), 400) for entry in detected],
        t("detected.because"): [display.raw(in_own_words(str(entry.get("because", ""))), 400) for entry in detected],
        t("detected.key"): [display.raw(entry.get("key") or display.NOTHING) for entry in detected],
    }
    st.markdown(f"**{t('detected.title')}**")
    show_table(columns, alt=t("detected.title"))


def show_files(files: Sequence[Json]) -> None:
    """Show how each file was read, and where its physical lines went."""
    rows = []
    for file in files:
        lines = file.get("lines") or {}
        row: Json = {t("files.file"): display.raw(file.get("file") or "")}
        for key in READING:
            row[t(f"files.{key}")] = _reading(key, file.get(key))
        row[t("files.physical")] = lines.get("physical")
        row[t("files.rows")] = file.get("rows")
        for reason, entry in (lines.get("not_rows") or {}).items():
            row[t_or(f"lines.{reason}", display.raw(reason))] = _lines_of(entry)
        row[t("files.notes")] = [display.raw(in_own_words(str(note)), 400) for note in file.get("notes") or ()]
        rows.append(row)
    if rows:
        st.markdown(f"**{t('files.title')}**")
        show_table(rows, alt=t("files.title"))


def show_rule_shares(shares: Sequence[Json]) -> None:
    """Show which share of the rows each rule takes away, and what limits of length would if they were set."""
    if not shares:
        return
    rows = [
        {
            t("findings.rule"): _rule(str(entry["rule"])),
            t("ledger.split"): t_or(f"split.{entry['split']}", display.raw(entry["split"])),
            t("shares.rows"): entry["rows"],
            t("shares.share"): display.percent(entry["share"]),
            t("shares.outcome"): t(_outcome(entry)),
            t("shares.limit"): entry.get("limit"),
            t("detected.key"): display.raw(entry.get("setting") or display.NOTHING),
        }
        for entry in shares
    ]
    st.markdown(f"**{t('shares.title')}**")
    show_table(rows, alt=t("shares.title"))


def _outcome(entry: Json) -> str:
    if entry["drops"]:
        return "shares.drops"
    return "shares.stays" if entry.get("limit") is not None else "shares.reported"


def show_findings(report: Mapping[str, Any]) -> None:
    """Show the findings of a run's data report, or that there are none."""
    show_summary(report.get("findings_summary") or [], report.get("findings") or [])


def show_summary(summary: Sequence[Json], findings: Sequence[Json]) -> None:
    """Show the number of findings (rule, severity, split, count), worst first, and where the first ones are."""
    if not summary:
        st.success(t("findings.none"), icon=":material/check_circle:")
        return
    rules = list(dict.fromkeys((entry["rule"], entry["severity"]) for entry in summary))
    rows = [
        {
            t("findings.rule"): _rule(rule),
            t("findings.severity"): t_or(f"severity.{severity}", display.raw(severity)),
            **{t(f"split.{split}"): _count(summary, rule, severity, split) for split in SPLITS},
        }
        for rule, severity in rules
    ]
    st.warning(t("findings.some", count=len(rows)), icon=":material/rule:")
    show_table(rows, alt=t("findings.rule"))
    _show_places(findings)


def show_gate(report: Mapping[str, Any]) -> None:
    """Say which limit of the gate would stop a training on these rows."""
    for entry in (report.get("gate") or {}).values():
        if entry["share"] > entry["allowed"]:
            values = {"share": display.percent(entry["share"]), "allowed": display.percent(entry["allowed"])}
            what = t_or(f"field.data.gate.{entry['limit']}", display.raw(entry["limit"]))
            split = t_or(f"split.{entry['split']}", display.raw(entry["split"]))
            st.error(t("gate.stops", what=what, split=split, **values), icon=":material/block:")


def show_analysis(analysis: Mapping[str, Any]) -> None:
    """Show balance, lengths and duplicates of an analysis."""
    facts = (
        ("rows", display.number(analysis.get("total_samples"))),
        ("imbalance", display.number(analysis.get("imbalance_ratio"))),
        ("balanced", yes_or_no(analysis.get("is_balanced"))),
    )
    show_figures((t(f"run.data_{name}"), value) for name, value in facts)
    rows = []
    for split, part in (analysis.get("splits") or {}).items():
        repeated = (part.get("duplicates") or {}).get("repeated_rows")
        for unit in LENGTHS:
            lengths = (part.get("lengths") or {}).get(unit)
            if lengths:
                rows.append({
                    t("ledger.split"): t_or(f"split.{split}", display.raw(split)),
                    t("analysis.unit"): t(f"analysis.{unit}"),
                    t("analysis.shortest"): lengths.get("min"),
                    t("analysis.mean"): lengths.get("mean"),
                    t("analysis.longest"): lengths.get("max"),
                    t("analysis.repeated"): repeated,
                })  # fmt: skip
    if rows:
        st.markdown(f"**{t('analysis.lengths')}**")
        show_table(rows, alt=t("analysis.lengths"))


def show_quarantine_rows(rows: Sequence[Json], total: int, file_name: str) -> None:
    """Show rows that were set aside with reason, place and remedy, and offer them as CSV."""
    st.caption(t("data.shown_rows", shown=display.number(len(rows)), total=display.number(total)))
    texts = [name for name in rows[0] if name not in QUARANTINE_COLUMNS] if rows else []
    columns = {
        t("quarantine.reason"): [_rule(str(row.get("reason", ""))) for row in rows],
        t("compare.text"): [text_of(row, texts) for row in rows],
        t("data.label"): [display.raw(row.get("label") or "") for row in rows],
        t("quarantine.place"): [display.raw(row.get("place") or row.get("row_id") or "") for row in rows],
        t("quarantine.fix"): [display.raw(in_own_words(row.get("fix") or ""), 400) for row in rows],
    }
    show_table(columns, alt=t("data.part_quarantine"))
    names = (*QUARANTINE_COLUMNS, *texts)
    content = display.save_csv(names, ([row.get(name) for name in names] for row in rows))
    st.download_button(
        t("action.download_csv"), content, file_name, "text/csv", icon=":material/download:", on_click="ignore"
    )


def show_ledger(ledger: Mapping[str, Any]) -> None:
    """Show what became of every input row."""
    totals = ledger.get("totals") or {}
    if not totals:
        return
    rows = []
    for split, counts in totals.items():
        row = {t("ledger.split"): t_or(f"split.{split}", display.raw(split))}
        for name in ("input", "used", "truncated", "moved_to_evaluation"):
            row[t(f"ledger.{name}")] = counts.get(name)
        for reason, count in (counts.get("dropped") or {}).items():
            row[t("ledger.dropped", reason=_rule(reason))] = count
        rows.append(row)
    st.markdown(f"**{t('ledger.title')}**")
    show_table(rows, alt=t("ledger.title"))


def yes_or_no(value: Any) -> str:
    """Return a truth value as a word."""
    return display.NOTHING if value is None else t("form.yes") if value else t("form.no")


def _show_places(findings: Sequence[Json]) -> None:
    if not findings:
        return
    shown = findings[:SHOWN_PLACES]
    columns = {
        t("findings.rule"): [_rule(str(finding.get("rule", ""))) for finding in shown],
        t("quarantine.place"): [display.raw(finding.get("place") or finding.get("row_id") or "") for finding in shown],
        t("run.value"): [display.raw(finding.get("value") or "") for finding in shown],
        t("quarantine.fix"): [display.raw(in_own_words(finding.get("fix") or ""), 400) for finding in shown],
    }
    with st.expander(t("findings.places"), icon=":material/location_searching:"):
        show_table(columns, alt=t("findings.places"))


def _reading(key: str, value: Any) -> str:
    """Return how a file was read in words; separators are shown as they are called."""
    if value is None:
        return display.NOTHING
    if key == "encoding":
        return display.raw(value)
    return t_or(f"reading.{READING_NAMES.get(str(value), value)}", display.raw(value))


def _lines_of(entry: Mapping[str, Any]) -> str:
    """Return how many lines, and the numbers of the first ones."""
    first = [str(number) for number in entry["first"][:SHOWN_LINES]]
    more = " …" if entry["count"] > len(first) else ""
    return f"{display.number(entry['count'])} ({', '.join(first)}{more})"


def _rule(rule: str) -> str:
    return t_or(f"rule.{rule}", display.raw(rule))


def _count(summary: Sequence[Json], rule: str, severity: str, split: str) -> int:
    return sum(
        int(entry["count"])
        for entry in summary
        if (entry["rule"], entry["severity"], entry["split"]) == (rule, severity, split)
    )
