"""Part of Submit: a look at the rows before anything is trained, and what they would stop."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import streamlit as st

from finetune30.ui import charts, display, form
from finetune30.ui.client import ApiError
from finetune30.ui.fields import get_value, put_value
from finetune30.ui.findings import show_detected, show_files, show_findings, show_gate, show_ledger, show_rule_shares
from finetune30.ui.layout import show_table
from finetune30.ui.rows import columns_of, text_cell, title_of
from finetune30.ui.session import client, explain, refuse, t
from finetune30.ui.stand_ins import show_forecast
from finetune30.ui.tokens import show_row_tokens
from finetune30.ui.views import reading, uploading

Json = dict[str, Any]

COLUMN_KEYS = ("text_column", "text_pair_column", "label_column")
#: What beside the data section decides which rows are shown and what is said of them.
ASKED_KEYS = ("model.num_labels", "model.problem_type", "training.seed")
#: A hub that is away, busy or slow may be there when the run begins.
PASSING = "hub_"


def look() -> None:
    """Ask what a training of the present draft would see, and keep the answer with what was asked."""
    question = _question()
    answer, error = None, None
    try:
        with st.spinner(t("preview.looking")):
            answer = client().preview(form.build_request())
    except ApiError as refused:
        error = refused
        if refused.status == 401:
            refuse(refused)
    st.session_state.preview = {"question": question, "answer": answer, "error": error}


def renew() -> None:
    """Look where nothing was looked at yet, or the draft says something else by now."""
    if not is_known() or not _is_of_draft():
        look()


def forget_other() -> None:
    """Forget a look at something else than the draft says now."""
    if is_known() and not _is_of_draft():
        st.session_state.pop("preview", None)


def is_known() -> bool:
    """Tell whether anything was looked at."""
    return st.session_state.get("preview") is not None


def blocker() -> str | None:
    """Return why a training of the draft would not start, as far as a look at its rows told."""
    if not is_known() or not _is_of_draft():
        return None
    known = st.session_state.preview
    if known["error"] is not None:
        return None if str(known["error"].code).startswith(PASSING) else t("preview.refused")
    if stopping(known["answer"]):
        return t("preview.rows_refused")
    return None


def rows_to_train() -> int | None:
    """Return how many rows a training of the draft would use, as far as a look at them told."""
    if not is_known() or not _is_of_draft() or st.session_state.preview["answer"] is None:
        return None
    totals = (st.session_state.preview["answer"].get("ledger") or {}).get("totals") or {}
    used = (totals.get("train") or {}).get("used")
    return used if isinstance(used, int) else None


def stopping(answer: Json) -> list[Json]:
    """Return the limits of the gate that the rows of a look are beyond; none where the draft's gate only reports."""
    if get_value(form.load_draft() or {}, "data.gate.mode") == "report":
        return []
    entries: Iterable[Json] = ((answer.get("report") or {}).get("gate") or {}).values()
    return [entry for entry in entries if entry["share"] > entry["allowed"]]


def leave_out(entries: Iterable[Json]) -> None:
    """Raise the limits of the draft to what the rows need, so that these are set aside; the run's record says so."""
    draft = form.load_draft() or {}
    for entry in entries:
        key = f"data.gate.{entry['limit']}"
        needed = min(1.0, math.ceil(entry["share"] * 10_000) / 10_000)
        put_value(draft, key, max(needed, get_value(draft, key) or 0.0))
    form.replace_draft(draft)


def show() -> None:
    """Show what was found, or why nothing could be."""
    if not is_known():
        return
    known = st.session_state.preview
    with st.container(border=True):
        if known["error"] is not None:
            st.error(explain(known["error"].as_dict()), icon=":material/error:")
            _show_columns_of_upload()
            return
        _show_rows(known["answer"])


def _question() -> Json:
    draft = form.load_draft() or {}
    return copy.deepcopy({"data": draft.get("data"), **{key: get_value(draft, key) for key in ASKED_KEYS}})


def _is_of_draft() -> bool:
    return bool(st.session_state.preview["question"] == _question())


def _show_rows(preview: Json) -> None:
    show_forecast(preview)
    beyond = stopping(preview)
    if beyond:
        show_gate(preview.get("report") or {})
        _offer_to_leave_out(beyond)
    _show_columns(preview)
    rows = preview.get("rows") or []
    st.caption(t("data_choice.first_rows", count=len(rows)))
    show_table([_describe_row(row, preview) for row in rows], alt=t("data_choice.preview"), most_pixels=260)
    if preview["has_token_kinds"] and rows and st.toggle(t("tokens.row"), key="preview-tokens"):
        row = st.selectbox(t("tokens.choose"), [str(row["origin"]) for row in rows], format_func=display.raw)
        show_row_tokens(form.build_request(), row)
    if preview.get("label_counts"):
        charts.bars(preview["label_counts"], title=t("data_choice.labels"), key="preview-labels")
    report = preview.get("report") or {}
    show_detected(report.get("detected") or [])
    show_files(report.get("files") or [])
    show_rule_shares(report.get("rule_shares") or [])
    show_findings(report)
    show_ledger(preview.get("ledger") or {})


def _offer_to_leave_out(beyond: list[Json]) -> None:
    """One press: these rows are set aside, which the run's configuration records, and the training begins."""
    count = sum(int(entry["rows"]) for entry in beyond)
    label = t("preview.leave_out", count=display.number(count))
    if st.button(label, icon=":material/playlist_remove:", help=t("preview.leave_out_help"), key="leave-out"):
        leave_out(beyond)
        look()
        st.session_state.submit_now = True
        st.rerun()


def _describe_row(row: Json, preview: Json) -> Json:
    names = [name for role in ("target", "text") for name in columns_of({"columns": preview["row_columns"]}, role)]
    return {
        t("ledger.split"): t(f"split.{row['split']}"),
        **{title_of(name): display.raw(text_cell(name, row[name]), 400) for name in names if row.get(name)},
        t("data.origin"): display.raw(row.get("origin", "")),
    }


def _show_columns(preview: Json) -> None:
    """Offer other columns for the keys that the configuration has for them."""
    available = [str(name) for name in (preview.get("columns") or {}).get("available") or ()]
    named = preview["named_columns"]
    _choose_columns(available, {key: named[key] for key in COLUMN_KEYS if key in named})


def _show_columns_of_upload() -> None:
    """Offer the columns of a file in which nothing tells which is which."""
    draft = form.load_draft() or {}
    available = uploading.columns_of(str(get_value(draft, "data.dataset_name")))
    _choose_columns(available, {key: get_value(draft, f"data.{key}") for key in COLUMN_KEYS})


def _choose_columns(available: list[str], guesses: dict[str, str | None]) -> None:
    if not available or not guesses:
        return
    draft = form.load_draft() or {}
    chosen = {}
    for place, (key, guessed) in zip(st.columns(len(COLUMN_KEYS)), guesses.items(), strict=False):
        options = [form.EMPTY, *available]
        chosen[key] = place.selectbox(
            form.field_label(f"data.{key}"),
            options,
            index=options.index(guessed) if guessed in options else 0,
            format_func=lambda name: t("form.automatic") if name == form.EMPTY else display.raw(name),
            key=form.widget_key(f"column-{key}"),
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
        if uploading.columns_of(str(get_value(draft, "data.dataset_name"))):
            reading.read()
        look()
        st.rerun()
