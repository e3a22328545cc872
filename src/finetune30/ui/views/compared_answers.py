"""Compare, of language models: what they answered side by side, and how many answers are as they should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.session import in_own_words, t
from finetune30.ui.views import verdicts

Json = dict[str, Any]

#: Rows shown at first, and answers beside each other.
FIRST, BESIDE = 5, 3
#: Characters that are shown: of a question its end, where the last one of a conversation stands.
LONGEST_QUESTION, LONGEST_ANSWER = 1000, 4000


def show(answers: Json, names: Mapping[str, str]) -> None:
    """Show the answers that the API compared, if there are any; `names` are those of the runs by id, in order."""
    pairs, rows = answers.get("pairs") or [], answers.get("rows") or []
    left_out = answers.get("left_out") or []
    if not (pairs or rows or left_out):
        return
    st.header(t("compare.answers"), anchor=False)
    for measure in dict.fromkeys(pair["measure"] for pair in pairs):
        st.markdown(f"**{t(f'compare.measure.{measure}')}**")
        verdicts.show_pairs([pair for pair in pairs if pair["measure"] == measure], names)
    if pairs:
        st.caption(t("compare.method.right"))
    for left in left_out:
        reason = display.plain(in_own_words(str(left.get("reason") or "")), 1000)
        st.info(t("compare.left_out", name=display.plain(names.get(left["run"], "")), reason=reason))
    if not rows:
        st.caption(t("compare.same_answers"))
        return
    total = int(answers.get("total") or len(rows))
    everything = len(rows) > FIRST and st.toggle(t("try.show_all", count=len(rows)), key="compare_all_answers")
    shown = rows if everything else rows[:FIRST]
    st.caption(t("data.shown_rows", shown=display.number(len(shown)), total=display.number(total)))
    for row in shown:
        _show_row(row, list(names.values()))


def _show_row(row: Json, names: list[str]) -> None:
    """Show a question with the wanted answer, and what each run answered, some beside each other."""
    with st.container(border=True):
        st.caption(display.plain(row.get("row_id", "")))
        asked = str(row.get("question") or "")
        _show_text(t("compare.question"), asked[-LONGEST_QUESTION:])
        _show_text(t("compare.wanted"), row.get("reference") or "")
        given = list(zip(names, row["answers"], strict=False))
        for start in range(0, len(given), BESIDE):
            part = given[start : start + BESIDE]
            for place, (name, text) in zip(st.columns(len(part)), part, strict=True):
                with place:
                    _show_text(name, display.NOTHING if text is None else text)


def _show_text(title: str, text: str) -> None:
    st.markdown(f"**{display.plain(title)}**")
    st.markdown(display.plain_lines(text, LONGEST_ANSWER) or display.NOTHING)
