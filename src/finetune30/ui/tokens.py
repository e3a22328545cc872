"""A row of a language model, token by token: what carries loss, what is context, what the template writes, what is cut.

Each kind has a look of its own beside its colour: supervised tokens are bold and underlined, cut ones struck out.
"""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.session import ask, client, in_own_words, t

Json = dict[str, Any]

KINDS = ("supervised", "context", "template", "truncated")
#: Characters of a piece that are shown.
_LONGEST_PIECE = 20_000


def show_row_tokens(request: Json, row: str) -> None:
    """Ask how a training by a request reads the row of that origin, once, and show it."""
    asked = (request, row)
    held = st.session_state.get("row_tokens")
    if held is None or held[0] != asked:
        with st.spinner(t("tokens.asking")):
            found = ask(lambda: client().view_tokens(request, row))
        if found is None:
            return
        held = st.session_state.row_tokens = (asked, found)
    _show(held[1])


def _show(found: Json) -> None:
    model, longest = display.plain(found["model"]), display.number(found["max_length"])
    st.caption(t("tokens.whose", row=display.plain(found["row_id"]), model=model, longest=longest))
    counts = found.get("counts") or {}
    told = {kind: t(f"tokens.{kind}", count=display.number(counts[kind])) for kind in KINDS if kind in counts}
    legend = "".join(
        f'<span role="listitem" class="tokens-{kind}">{escape(words)}</span>' for kind, words in told.items()
    )
    pieces = "".join(
        f'<span class="tokens-{piece["kind"]}">{escape(_text_of(piece))}</span>' for piece in found.get("pieces") or ()
    )
    st.html(f'<div role="list" class="tokens-legend">{legend}</div><div class="tokens">{pieces}</div>')
    for key in ("dropped_characters", "unlike_asked"):
        if count := found.get(key):
            st.warning(t(f"tokens.{key}", count=display.number(count)), icon=":material/visibility_off:")
    if aside := found.get("aside"):
        st.warning(
            t("tokens.aside", rule=display.plain(aside["rule"]), fix=display.plain(in_own_words(str(aside["fix"])))),
            icon=":material/rule:",
        )


def _text_of(piece: Json) -> str:
    lines = str(piece["text"]).split("\n")
    return "⏎\n".join(display.raw(line, _LONGEST_PIECE) for line in lines)
