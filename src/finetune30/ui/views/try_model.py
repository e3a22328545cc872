"""Try: questions to the models of one or two finished runs."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import streamlit as st

from finetune30.ui import display
from finetune30.ui.scores import score_value
from finetune30.ui.session import ask, client, t
from finetune30.ui.stand_ins import in_short

Json = dict[str, Any]

MOST_RUNS = 2
OFFERED = 200
MOST_ROWS = 20_000
LONGEST_TEXT = 20_000
#: What an answer repeats of its question.
ASKED = ("row_id", "text", "text_pair")
TEXT_NAMES = ("text", "sentence", "content", "review")


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
    text = st.text_area(t("try.text"), key="try_text", max_chars=LONGEST_TEXT, placeholder=t("try.text_hint"))
    pair = None
    if st.toggle(t("try.with_pair"), key="try_with_pair", help=t("try.pair_help")):
        pair = st.text_area(t("try.pair"), key="try_pair", max_chars=LONGEST_TEXT)
    if st.button(t("try.ask"), type="primary", icon=":material/send:", disabled=not chosen) and _is_given(text):
        with st.spinner(t("try.loading")):
            st.session_state.try_asked = text
            st.session_state.try_answers = {
                run_id: ask(lambda run_id=run_id: list(client().predict(run_id, [text], [pair] if pair else None)))  # type: ignore[misc]
                for run_id in chosen
            }
    answers = st.session_state.get("try_answers") or {}
    _show_answers({run_id: answers[run_id] for run_id in chosen if run_id in answers}, runs)
    _show_batch(chosen, runs)


def show_question(run: Json) -> None:
    """Show a place to ask the model of one run a text, with its answer."""
    run_id = str(run["id"])
    with st.container(border=True):
        st.subheader(t("try.here"), anchor=False)
        with st.form(f"ask-{run_id}", border=False):
            text = st.text_area(
                t("try.text"), key=f"ask-text-{run_id}", max_chars=LONGEST_TEXT, placeholder=t("try.text_hint")
            )
            pressed = st.form_submit_button(t("try.ask"), icon=":material/send:")
        if pressed and _is_given(text):
            with st.spinner(t("try.loading")):
                answers = ask(lambda: list(client().predict(run_id, [text])))
            st.session_state.asked_here = {"run": run_id, "text": text, "answer": answers[0] if answers else None}
        asked = st.session_state.get("asked_here")
        if asked and asked["run"] == run_id and asked["answer"]:
            st.caption(t("try.asked", text=display.plain(asked["text"], 120)))
            for value in _given(asked["answer"]):
                _show_value(value)


def _is_given(text: str) -> bool:
    if not text.strip():
        st.info(t("try.text_hint"))
    return bool(text.strip())


def _choose_runs(runs: dict[str, Json]) -> list[str]:
    address = st.query_params.get("run", "")
    if "try_runs" not in st.session_state:
        st.session_state.try_runs = [address] if address in runs else [next(iter(runs))]
    chosen: list[str] = st.multiselect(
        t("try.runs"),
        list(runs),
        format_func=lambda run_id: _describe(runs[run_id]),
        max_selections=MOST_RUNS,
        key="try_runs",
        placeholder=t("try.runs"),
    )
    return chosen


def _describe(run: Json) -> str:
    return display.raw(f"{run['name']} · {score_value(run)} · {run['id'][:8]}", 100)


def _show_answers(answers: dict[str, list[Json] | None], runs: dict[str, Json]) -> None:
    known = {run_id: found[0] for run_id, found in answers.items() if found and run_id in runs}
    if not known:
        return
    st.caption(t("try.asked", text=display.plain(st.session_state.try_asked, 120)))
    for place, (run_id, answer) in zip(st.columns(len(known)), known.items(), strict=True):
        with place.container(border=True):
            st.caption(display.plain(_describe(runs[run_id])))
            for value in _given(answer):
                _show_value(value)


def _given(answer: Json) -> list[Any]:
    """Return the parts of an answer, without the question; their kinds say how each is shown."""
    return [value for key, value in answer.items() if key not in ASKED]


def _show_value(value: Any) -> None:
    """Show a part: shares of names as bars, names or a text in bold, a number as a figure."""
    if isinstance(value, dict):
        for name, share in sorted(value.items(), key=lambda item: -item[1]):
            st.progress(min(1.0, max(0.0, float(share))), f"{display.plain(name, 60)} · {display.percent(share)}")
    elif isinstance(value, list):
        st.markdown("**" + display.plain(", ".join(map(str, value)) or t("try.no_label")) + "**")
    elif isinstance(value, str):
        st.markdown("**" + display.plain(value) + "**")
    else:
        st.metric(t("try.value"), display.number(value))


def _show_batch(chosen: list[str], runs: dict[str, Json]) -> None:
    st.subheader(t("try.batch"), anchor=False)
    file = st.file_uploader(t("try.batch_file"), type=["csv", "tsv", "jsonl", "txt", "parquet"], max_upload_size=50)
    if file is None or not chosen:
        st.caption(t("try.batch_hint"))
        return
    frame = _read_file(file.name, file.getvalue())
    if frame is None:
        return
    columns = [str(column) for column in frame.columns]
    guess = next((n for n, column in enumerate(columns) if column.lower() in TEXT_NAMES), 0)
    column = st.selectbox(t("field.data.text_column"), columns, index=guess, format_func=display.raw)
    if len(frame) > MOST_ROWS:
        st.warning(t("try.batch_cut", most=f"{MOST_ROWS:,}", rows=f"{len(frame):,}"))
        frame = frame.head(MOST_ROWS)
    question = (file.file_id, column, *chosen)
    if st.button(t("try.batch_run", rows=f"{len(frame):,}"), icon=":material/play_arrow:"):
        texts = [str(text) for text in frame[column].fillna("")]
        st.session_state.try_file = (question, _predict_file(chosen, runs, texts))
    answered, content = st.session_state.get("try_file", (None, None))
    if content and answered == question:  # never the answers to another file
        st.download_button(
            t("try.batch_download"),
            content,
            "predictions.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )


def _predict_file(chosen: list[str], runs: dict[str, Json], texts: list[str]) -> bytes | None:
    columns, tables = ["text"], [texts]
    for run_id in chosen:
        bar = st.progress(0.0, display.plain(_describe(runs[run_id])))
        answers = ask(lambda run_id=run_id, bar=bar: _collect(run_id, texts, bar))  # type: ignore[misc]
        bar.empty()
        if answers is None:
            return None
        name = f"{runs[run_id]['name']} {run_id[:8]}"
        columns += [f"{name} prediction", f"{name} probability"]
        tables += [[_answer_cell(answer) for answer in answers], [_share_cell(answer) for answer in answers]]
    return display.save_csv(columns, zip(*tables, strict=True))


def _collect(run_id: str, texts: list[str], bar: Any) -> list[Json]:
    answers = []
    for number, answer in enumerate(client().predict(run_id, texts), start=1):
        answers.append(answer)
        if number % 64 == 0 or number == len(texts):
            bar.progress(number / len(texts), f"{number:,} / {len(texts):,}")
    return answers


def _answer_cell(answer: Json) -> Any:
    """Return what was answered as one cell: the first part that is no shares, names joined."""
    found = next((value for value in _given(answer) if not isinstance(value, dict)), None)
    return "|".join(map(str, found)) if isinstance(found, list) else found


def _share_cell(answer: Json) -> Any:
    """Return the highest share of an answer that has shares."""
    shares = next((value for value in _given(answer) if isinstance(value, dict)), {})
    return max(shares.values(), default=None)


def _read_file(name: str, content: bytes) -> pd.DataFrame | None:
    ending = name.lower().rpartition(".")[2]
    try:
        if ending == "parquet":
            return pd.read_parquet(io.BytesIO(content))
        if ending == "jsonl":
            return pd.read_json(io.BytesIO(content), lines=True, dtype=False)
        if ending == "txt":
            lines = content.decode("utf-8-sig").splitlines()
            return pd.DataFrame({"text": [line for line in lines if line.strip()]})
        return pd.read_csv(io.BytesIO(content), sep="\t" if ending == "tsv" else ",", dtype=str, encoding="utf-8-sig")
    except (ValueError, OSError) as error:
        st.error(t("try.batch_unreadable", reason=display.plain(error)), icon=":material/error:")
        return None
