"""Part of Submit: what a run would take, and whether it would get what it names."""

from __future__ import annotations

import copy
from typing import Any

import streamlit as st

from finetune30.ui import display, form, stand_ins
from finetune30.ui.fields import put_value
from finetune30.ui.layout import show_figures
from finetune30.ui.session import ask, client, explain, t
from finetune30.ui.views import preview, reading

Json = dict[str, Any]


def ask_api() -> Json | None:
    """Return what the API expects of the draft; None where it cannot say. Asked only when the draft changed."""
    asked = copy.deepcopy([form.load_draft() or {}, preview.rows_to_train()])
    known = st.session_state.get("draft_estimate")
    # Whether the hub is there may change meanwhile; what is out of reach is asked for again.
    if known is None or known[0] != asked or not known[1] or known[1].get("out_of_reach"):
        known = (asked, ask(lambda: client().estimate(_request())))
        st.session_state.draft_estimate = known
    expected: Json | None = known[1]
    return expected


def _request() -> Json:
    """Return the draft's request with as many training rows as a look at the data counted."""
    body = form.build_request()
    rows = preview.rows_to_train()
    if rows is not None and rows > 1:
        body["config"].setdefault("data", {})["train_samples"] = rows
    return body


def show(expected: Json | None, *, is_complete: bool) -> None:
    """Show steps, parameters, memory and time."""
    st.header(t("submit.estimate"), anchor=False)
    if not is_complete:
        st.caption(t("submit.estimate_later"))
        return
    if expected is None:
        return
    runs = expected.get("based_on_runs") or 0
    past = t("submit.estimate_past", runs=runs) if runs else t("submit.estimate_no_past")
    memory, memory_help = display.size(expected.get("memory_bytes")), past
    least = expected.get("least_memory_bytes")
    if expected.get("memory_bytes") is None and least is not None:
        memory, memory_help = f"≥ {display.size(least)}", t("submit.estimate_least")
    facts = (
        ("rows", display.number(expected.get("rows")), t("submit.estimate_rows_help")),
        ("steps", display.number(expected.get("steps")), None),
        ("parameters", display.number(expected.get("trainable_parameters")), t("submit.estimate_counted")),
        ("memory", memory, memory_help),
        ("time", display.duration(expected.get("seconds"), t), past),
    )
    show_figures((t(f"submit.estimate_{name}"), value, help_text) for name, value, help_text in facts)
    if not runs:
        st.caption(t("submit.estimate_no_past"))


def in_short(expected: Json) -> list[str]:
    """Return in a few words how much a run would do, or that it would fail; nothing where that is not known.

    What the API cannot reach, a worker on another machine may; so it can be submitted all the same.
    """
    if expected.get("out_of_reach"):
        return [f":material/cloud_off: {t('submit.out_of_reach')}"]
    if expected.get("steps") is None:
        return []
    steps = t("submit.steps_in_short", steps=display.number(expected["steps"]))
    seconds = expected.get("seconds")
    return [steps if seconds is None else f"{steps} · {display.duration(seconds, t)}"]


def show_reach(expected: Json) -> None:
    """Say what would stand in, or that the run would fail; the starter is offered then, never taken."""
    stand_ins.show_forecast(expected)
    error = expected.get("out_of_reach")
    if not error:
        return
    with st.container(border=True):
        st.error(explain(error), icon=":material/cloud_off:")
        if not expected.get("starter_offered"):
            return
        if not reading.starter_reads():
            st.markdown(t("reading.starter_cannot"))
            return
        st.markdown(t("stand_ins.offer"))
        if st.button(t("stand_ins.take_starter"), icon=":material/swap_horiz:", key="take-starter"):
            _take_starter_model()


def _take_starter_model() -> None:
    """Name the starter model in the draft, with the settings that suit it."""
    draft = form.load_draft() or {}
    put_value(draft, "model.name", form.STARTER)
    form.adapt_to_model(draft)
    st.rerun()
