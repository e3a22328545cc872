"""Part of Try: a whole file of questions, read by the API as the training read its files, and its answers as a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from finetune30.ui import display, form
from finetune30.ui.scores import score_value
from finetune30.ui.session import ask, client, in_own_words, t

Json = dict[str, Any]

#: What an answer repeats of its question, and what it says where it has none.
ASKED = ("row_id", "text", "text_pair", "columns")
NO_ANSWER = "no_answer"
#: The probability of what a classifier decided: of several labels, that of the least probable decision.
CONFIDENCE = "confidence"
#: The code of a question that the model is not sure enough about; others gave it nothing to read.
NOT_SURE = "not_sure"
FILE_TYPES = ["csv", "tsv", "json", "jsonl", "parquet", "xlsx", "ods", "gz", "zip", "txt"]
LARGEST_FILE_MB = 50
#: Key of the choice of a column -> the text that it is for.
COLUMN_KEYS = {"text_column": "text", "text_pair_column": "text_pair"}


def show(chosen: Sequence[str], runs: dict[str, Json]) -> None:
    """Take a file and offer the answers of the chosen runs to it."""
    file = st.file_uploader(t("try.batch_file"), type=FILE_TYPES, max_upload_size=LARGEST_FILE_MB)
    if file is None or not chosen:
        st.caption(t("try.batch_hint"))
        return
    read = _read(chosen, file, _reading(chosen, file))
    if read is None:
        return
    first = read[chosen[0]]
    for note in dict.fromkeys(note for one in read.values() for note in one["notes"]):
        st.info(display.plain(in_own_words(note), 500))
    _choose_columns(chosen, file, first)
    for run_id in (run_id for run_id, one in read.items() if one["read"] != first["read"]):
        st.info(t("try.batch_reads", run=display.plain(describe(runs[run_id])), columns=_listed(read[run_id]["read"])))
    count = len(first["questions"])
    if first["rows"] > count:
        st.warning(t("try.batch_cut", most=f"{count:,}", rows=f"{first['rows']:,}"))
    question = (file.file_id, str(_reading(chosen, file)), *chosen)
    if st.button(t("try.batch_run", rows=f"{count:,}"), icon=":material/play_arrow:"):
        st.session_state.try_file = (question, _predict(runs, read))
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


def describe(run: Json) -> str:
    """Return one line about a run: name, score, and the beginning of its id."""
    return display.raw(f"{run['name']} · {score_value(run)} · {run['id'][:8]}", 100)


def parts_of(answer: Json) -> list[Any]:
    """Return the parts of an answer, without the question; their kinds say how each is shown."""
    return [value for key, value in answer.items() if key not in (*ASKED, NO_ANSWER, CONFIDENCE)]


def why_no_answer(answer: Json) -> str:
    """Say why a question has no answer."""
    return t("try.not_sure") if answer[NO_ANSWER]["code"] == NOT_SURE else t("try.no_tokens")


def _reading(chosen: Sequence[str], file: Any) -> Json:
    """Return the columns that somebody chose for this file and these runs; the API finds the others."""
    named: Json = st.session_state.get("try_named", {}).get(_place(chosen, file), {})
    return named


def _place(chosen: Sequence[str], file: Any) -> str:
    return f"{file.file_id}-{'-'.join(chosen)}"


def _take_column(key: str, widget: str, place: str) -> None:
    name = st.session_state[widget]
    named = st.session_state.get("try_named", {}).get(place, {})
    st.session_state.try_named = {place: {**named, key: None if name == form.EMPTY else name}}


def _read(chosen: Sequence[str], file: Any, reading: Json) -> dict[str, Json] | None:
    """Return the file as questions to each run, read once for each choice of columns; None where it cannot be."""
    asked = (file.file_id, str(reading), *chosen)
    known, kept = st.session_state.get("try_read", (None, {}))
    read: dict[str, Json] = kept
    if known != asked:
        read = {}
        for run_id in chosen:
            found = ask(lambda run_id=run_id: client().read_questions(run_id, file.name, file.getvalue(), reading))  # type: ignore[misc]
            if found is None:
                return None
            read[run_id] = found
        st.session_state.try_read = (asked, read)
    return read


def _listed(read: Json) -> str:
    return display.plain(t("form.comma").join(str(column) for column in read.values() if column is not None), 400)


def _choose_columns(chosen: Sequence[str], file: Any, read: Json) -> None:
    """Show which columns the texts are read from, and offer others."""
    columns = [str(name) for name in read["columns"]]
    if not columns:
        return
    may_pair = "text" in read["read"] and read["reads_pairs"] is not False
    keys = [key for key, text in COLUMN_KEYS.items() if text in read["read"] or may_pair]
    for place, key in zip(st.columns(2), keys, strict=False):
        found = read["read"].get(COLUMN_KEYS[key])
        options = columns if key == "text_column" else [form.EMPTY, *columns]
        place.selectbox(
            t(f"field.data.{key}"),
            options,
            index=options.index(found) if found in options else 0,
            format_func=lambda name: t("form.automatic") if name == form.EMPTY else display.raw(name),
            key=f"try-{key}-{_place(chosen, file)}",
            on_change=_take_column,
            args=(key, f"try-{key}-{_place(chosen, file)}", _place(chosen, file)),
        )


def _predict(runs: dict[str, Json], read: dict[str, Json]) -> bytes | None:
    """Return questions, answers of every run and the other columns of the file as CSV.

    A run that reads other columns than the first has texts of its own there.
    """
    first = next(iter(read.values()))
    questions = first["questions"]
    columns = {"row_id": [q["row_id"] for q in questions], **_texts(questions)}
    names, tables = [*columns], [*columns.values()]
    for run_id, one in read.items():
        bar = st.progress(0.0, display.plain(describe(runs[run_id])))
        answers = ask(lambda run_id=run_id, one=one, bar=bar: _collect(run_id, one["questions"], bar))  # type: ignore[misc]
        bar.empty()
        if answers is None:
            return None
        name = f"{runs[run_id]['name']} {run_id[:8]}"
        own = _texts(one["questions"]) if one["read"] != first["read"] else {}
        told = ("prediction", "probability", CONFIDENCE)
        names += [*(f"{name} {text}" for text in own), *(f"{name} {one}" for one in told)]
        tables += [
            *own.values(),
            [_answer_cell(answer) for answer in answers],
            [_share_cell(answer) for answer in answers],
            [answer.get(CONFIDENCE) for answer in answers],
        ]
    for column in dict.fromkeys(name for q in questions for name in q["columns"]):
        names.append(f"file_{column}" if column in names else column)
        tables.append([q["columns"].get(column) for q in questions])
    return display.save_csv(names, zip(*tables, strict=True))


def _texts(questions: Sequence[Json]) -> dict[str, list[Any]]:
    """Return the texts of questions as columns; second texts where there are any."""
    second = any(q["text_pair"] is not None for q in questions)
    return {name: [q[name] for q in questions] for name in ("text", "text_pair") if name == "text" or second}


def _collect(run_id: str, questions: Sequence[Json], bar: Any) -> list[Json]:
    texts, pairs = [q["text"] for q in questions], [q["text_pair"] for q in questions]
    given = pairs if any(pair is not None for pair in pairs) else None
    answers = []
    for number, answer in enumerate(client().predict(run_id, texts, given), start=1):
        answers.append(answer)
        if number % 64 == 0 or number == len(texts):
            bar.progress(number / len(texts), f"{number:,} / {len(texts):,}")
    return answers


def _answer_cell(answer: Json) -> Any:
    """Return what was answered as one cell: the first part that is no shares, names joined; or why nothing was."""
    if NO_ANSWER in answer:
        return why_no_answer(answer)
    found = next((value for value in parts_of(answer) if not isinstance(value, dict)), None)
    return "|".join(map(str, found)) if isinstance(found, list) else found


def _share_cell(answer: Json) -> Any:
    """Return the share of what was answered, of several names as they stand in the answer; None where nothing was."""
    shares: Json = next((value for value in parts_of(answer) if isinstance(value, dict)), {})
    named = next((value for value in parts_of(answer) if isinstance(value, list)), [])
    found = [shares[name] for name in named if name in shares]
    return "|".join(map(str, found)) if len(found) > 1 else found[0] if found else None
