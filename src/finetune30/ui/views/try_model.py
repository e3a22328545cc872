"""Try: questions to the models of one or two finished runs."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.client import ApiError
from finetune30.ui.session import ask, client, t
from finetune30.ui.stand_ins import in_short
from finetune30.ui.views import chat, try_file

Json = dict[str, Any]

MOST_RUNS = 2
OFFERED = 200
LONGEST_TEXT = 20_000
#: Names shown at first.
SHOWN_NAMES = 5
#: A lead of fewer points (as a share) says little; shares of names that exclude each other add up to 1, nearly.
#: It is the lead of what was answered: by a threshold that may be a name that others are more probable than.
SMALL_LEAD, EXCLUSIVE = 0.1, 0.01


def show() -> None:
    """Show the page."""
    st.title(t("try.title"), anchor=False)
    found = ask(lambda: client().find_experiments(status=["SUCCEEDED"], limit=OFFERED))
    if found is None:
        return
    runs = {run["id"]: run for run in found[0]}
    if not runs:
        st.info(t("try.empty"), icon=":material/chat:")
        st.page_link(st.session_state.pages["submit"], label=t("action.submit_first"), icon=":material/rocket_launch:")
        return
    chosen = _choose_runs(runs)
    for run_id in chosen:
        if short := in_short(runs[run_id]):
            st.warning(display.plain(f"{runs[run_id]['name']}: {short}", 400), icon=":material/swap_horiz:")
    asked = {run_id: runs[run_id] for run_id in chosen}
    talks = {_answers_conversations(run_id) for run_id in chosen}
    if talks == {True}:  # the field of a conversation stays at the lower edge, so nothing stands below the turns
        with st.expander(t("try.batch"), icon=":material/table:"):
            try_file.show(chosen, asked)
        chat.show({run_id: try_file.describe(run) for run_id, run in asked.items()})
        return
    if True in talks:
        st.info(t("try.talks_and_texts"), icon=":material/info:")
    _show_texts(chosen, runs)
    st.header(t("try.batch"), anchor=False)
    try_file.show(chosen, asked)


def _show_texts(chosen: list[str], runs: dict[str, Json]) -> None:
    """Show a place to ask single texts, or pairs, with the answers of the chosen runs."""
    kinds = {_reads_pairs(run_id) for run_id in chosen}
    if {True, False} <= kinds:
        st.warning(t("try.pairs_and_singles"), icon=":material/warning:")
    text = st.text_area(t("try.text"), key="try_text", max_chars=LONGEST_TEXT, placeholder=t("try.text_hint"))
    pair = None
    is_known = kinds and None not in kinds  # a run without a report may be either
    if True in kinds or (not is_known and st.toggle(t("try.with_pair"), key="try_with_pair", help=t("try.pair_help"))):
        pair = st.text_area(t("try.pair"), key="try_pair", max_chars=LONGEST_TEXT)
    if st.button(t("try.ask"), type="primary", icon=":material/send:", disabled=not chosen) and _is_given(text, pair):
        with st.spinner(t("try.loading")):
            st.session_state.try_asked = text
            beside = None if pair is None else [pair]
            st.session_state.try_answers = {
                run_id: ask(lambda run_id=run_id: list(client().predict(run_id, [text], beside)))  # type: ignore[misc]
                for run_id in chosen
            }
    answers = st.session_state.get("try_answers") or {}
    _show_answers({run_id: answers[run_id] for run_id in chosen if run_id in answers}, runs)


def show_question(run: Json) -> None:
    """Show a place to ask the model of one run a text (or a pair of texts), or the way to where it is talked with."""
    run_id = str(run["id"])
    if run.get("answers_conversations"):
        st.page_link(
            st.session_state.pages["try"], label=t("chat.here"), icon=":material/chat:", query_params={"run": run_id}
        )
        return
    with st.container(border=True):
        st.header(t("try.here"), anchor=False)
        with st.form(f"ask-{run_id}", border=False):
            text = st.text_area(
                t("try.text"), key=f"ask-text-{run_id}", max_chars=LONGEST_TEXT, placeholder=t("try.text_hint")
            )
            pair = None
            if _reads_pairs(run_id):
                pair = st.text_area(t("try.pair"), key=f"ask-pair-{run_id}", max_chars=LONGEST_TEXT)
            pressed = st.form_submit_button(t("try.ask"), icon=":material/send:")
        if pressed and _is_given(text, pair):
            with st.spinner(t("try.loading")):
                answers = ask(lambda: list(client().predict(run_id, [text], None if pair is None else [pair])))
            st.session_state.asked_here = {"run": run_id, "text": text, "answer": answers[0] if answers else None}
        asked = st.session_state.get("asked_here")
        if asked and asked["run"] == run_id and asked["answer"]:
            st.caption(t("try.asked", text=display.plain(asked["text"], 120)))
            _show_parts(asked["answer"], f"ask-all-{run_id}")


def _is_given(text: str, pair: str | None) -> bool:
    given = bool(text.strip()) and (pair is None or bool(pair.strip()))
    if not given:
        st.info(t("try.text_hint") if pair is None else t("try.both_texts"))
    return given


def _reads_pairs(run_id: str) -> bool | None:
    """Tell whether a run was trained on pairs of texts, None where its report does not say; asked once a run."""
    known: dict[str, bool | None] = st.session_state.setdefault("try_pairs", {})
    if run_id not in known:
        try:
            texts = client().load_report(run_id).get("texts")
        except ApiError:
            return None
        known[run_id] = None if texts is None else len(texts) > 1
    return known[run_id]


def _answers_conversations(run_id: str) -> bool:
    """Tell whether a run's model can be talked with; asked once a run."""
    known: dict[str, bool] = st.session_state.setdefault("try_talks", {})
    if run_id not in known:
        try:
            known[run_id] = bool(client().load_experiment(run_id).get("answers_conversations"))
        except ApiError:
            return False
    return known[run_id]


def _choose_runs(runs: dict[str, Json]) -> list[str]:
    address = _find_addressed(runs)
    if "try_runs" not in st.session_state:
        st.session_state.try_runs = [address] if address in runs else [next(iter(runs))]
    chosen: list[str] = st.multiselect(
        t("try.runs"),
        list(runs),
        format_func=lambda run_id: try_file.describe(runs[run_id]),
        max_selections=MOST_RUNS,
        key="try_runs",
        placeholder=t("try.runs"),
    )
    return chosen


def _find_addressed(runs: dict[str, Json]) -> str:
    """Return the id of the run that the address names, also by a model's version, and put it among those to choose."""
    address: str = st.query_params.get("run", "")
    if not address or address in runs:
        return address
    found = ask(lambda: client().load_experiment(address))
    if found is None or found["status"] != "SUCCEEDED":
        return ""
    runs.setdefault(str(found["id"]), found)
    return str(found["id"])


def _show_answers(answers: dict[str, list[Json] | None], runs: dict[str, Json]) -> None:
    known = {run_id: found[0] for run_id, found in answers.items() if found and run_id in runs}
    if not known:
        return
    st.caption(t("try.asked", text=display.plain(st.session_state.try_asked, 120)))
    for place, (run_id, answer) in zip(st.columns(len(known)), known.items(), strict=True):
        with place.container(border=True):
            st.caption(display.plain(try_file.describe(runs[run_id])))
            _show_parts(answer, f"try-all-{run_id}")


def _show_parts(answer: Json, key: str) -> None:
    if try_file.NO_ANSWER in answer:
        st.info(try_file.why_no_answer(answer), icon=":material/help:")
    if "finish_reason" in answer:
        chat.show_reply(answer)
        return
    for value in try_file.parts_of(answer):
        _show_value(value, key)
    if (confidence := answer.get(try_file.CONFIDENCE)) is not None:
        st.caption(t("try.confidence", share=display.percent(confidence)))
    if is_unsure(answer):
        st.badge(t("try.unsure"), icon=":material/help:", color="orange")


def _show_value(value: Any, key: str) -> None:
    """Show a part: shares of names as bars, names or a text in bold, a number as a figure."""
    if isinstance(value, dict):
        _show_shares(value, key)
    elif isinstance(value, list):
        st.markdown("**" + display.plain(", ".join(map(str, value)) or t("try.no_label")) + "**")
    elif isinstance(value, str):
        st.markdown("**" + display.plain(value) + "**")
    else:
        st.metric(t("try.value"), display.number(value))


def _show_shares(shares: dict[str, float], key: str) -> None:
    """Show the names with the largest shares, all of them when asked."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    place = st.container()
    everything = len(ordered) <= SHOWN_NAMES or st.toggle(t("try.show_all", count=len(ordered)), key=key)
    with place:
        for name, share in ordered if everything else ordered[:SHOWN_NAMES]:
            st.progress(min(1.0, max(0.0, float(share))), f"{display.plain(name, 60)} · {display.percent(share)}")


def is_unsure(answer: Json) -> bool:
    """Tell whether an answer was a near thing: its name hardly leads, or of several a decision is hardly probable.

    What is withheld says already that it is not sure.
    """
    confidence, shares = answer.get(try_file.CONFIDENCE), answer.get("probabilities")
    if confidence is None or not isinstance(shares, dict) or try_file.NO_ANSWER in answer:
        return False
    named, ordered = answer.get("labels") or [], sorted(map(float, shares.values()))
    if len(named) == 1 and len(ordered) > 1 and abs(sum(ordered) - 1) < EXCLUSIVE:
        given = float(shares[named[0]])
        others = ordered[-2] if given == ordered[-1] else ordered[-1]
        return given - others < SMALL_LEAD
    return float(confidence) < 0.5 + SMALL_LEAD / 2
