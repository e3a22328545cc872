"""Part of Try, for models that hold conversations: turns with one, or the same questions to two side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.client import ApiError
from finetune30.ui.conversation import Conversation, Reply, Side, Turn
from finetune30.ui.session import client, explain, refuse, t

Json = dict[str, Any]

LONGEST_QUESTION = 20_000
#: Characters of an answer that are shown.
LONGEST_ANSWER = 100_000
MOST_NEW_TOKENS, USUAL_NEW_TOKENS = 4096, 256
_AVATARS = {"user": ":material/person:", "assistant": ":material/smart_toy:"}

Names = Mapping[Side, str]


def show(names: Mapping[str, str]) -> None:
    """Show a conversation with the models of one or two runs; `names` are those of the runs by id."""
    sides = _choose_sides(names)
    system = st.text_area(
        t("chat.system"), key="chat_system", max_chars=LONGEST_QUESTION, height=68, placeholder=t("chat.system_hint")
    )
    with st.expander(t("chat.more"), icon=":material/tune:"):
        options = _choose_sampling()
    held: dict[tuple[Side, ...], Conversation] = st.session_state.setdefault("chats", {})
    talk = held.setdefault(tuple(sides), Conversation())
    # Its own way to stop (submit_mode) stays on for good where fragments refresh themselves meanwhile (Streamlit 1.67).
    asked = st.chat_input(t("chat.say"), key="chat_said", max_chars=LONGEST_QUESTION) or ""
    turns, below = st.container(), st.empty()
    with turns:
        for turn in talk.turns:
            _show_turn(turn, sides)
        if asked.strip():
            below.button(t("chat.stop"), icon=":material/stop_circle:", key="chat_stop")  # any press breaks it off
            _answer(talk, asked, sides, {**options, "system": system.strip() or None})
    if talk.turns:
        below.button(t("chat.reset"), icon=":material/restart_alt:", key="chat_reset", on_click=talk.turns.clear)


def show_reply(answer: Json) -> None:
    """Show an answer that came whole, with why it ended where the model did not end it itself."""
    reply = Reply()
    reply.take(answer)
    _show_text(reply)
    _show_end(reply)


def _choose_sides(names: Mapping[str, str]) -> dict[Side, str]:
    """Return who is asked, with names: one or two runs; beside one its base model, where that is wished."""
    sides = {Side(run_id): name for run_id, name in names.items()}
    if len(sides) == 1 and st.toggle(t("chat.beside_base"), key="chat_beside_base", help=t("chat.beside_base_help")):
        sides[Side(next(iter(names)), is_base=True)] = t("chat.base")
    return sides


def _choose_sampling() -> Json:
    """Return how tokens are chosen, as the API takes it."""
    longest, temperature, seed = st.columns(3)
    top_p, top_k, _ = st.columns(3)
    return {
        "max_new_tokens": longest.number_input(
            t("chat.max_new_tokens"), 1, MOST_NEW_TOKENS, USUAL_NEW_TOKENS, key="chat_max_new_tokens"
        ),
        "temperature": temperature.number_input(
            t("chat.temperature"), 0.0, 10.0, 0.0, 0.1, key="chat_temperature", help=t("chat.temperature_help")
        ),
        "seed": seed.number_input(t("chat.seed"), 0, (1 << 53) - 1, 0, key="chat_seed", help=t("chat.seed_help")),
        "top_p": top_p.number_input(t("chat.top_p"), 0.01, 1.0, 1.0, 0.05, key="chat_top_p", help=t("chat.top_p_help")),
        "top_k": top_k.number_input(t("chat.top_k"), 0, 1_000_000, 0, key="chat_top_k", help=t("chat.top_k_help")),
    }


def _answer(talk: Conversation, asked: str, sides: Names, options: Json) -> None:
    """Ask every side and show what comes, piece by piece; what came stays, also when a press breaks it off."""
    turn = talk.ask(asked, list(sides))
    places = _show_turn(turn, sides, is_new=True)
    with ExitStack() as streams:
        coming: dict[Side, Iterator[Json]] = {}
        for side in sides:
            question = {"messages": talk.messages(side), "base": side.is_base, **options}
            coming[side] = streams.enter_context(closing(client().stream_answer(side.run_id, question)))
        while coming:
            for side in list(coming):
                try:
                    piece = next(coming[side], None)
                except ApiError as error:
                    if error.status == 401:
                        refuse(error)
                    turn.replies[side].error, piece = error.as_dict(), None
                if piece is None:
                    del coming[side]
                else:
                    turn.replies[side].take(piece)
                with places[side].container():
                    _show_text(turn.replies[side], is_whole=side not in coming)
    for side, reply in turn.replies.items():
        with places[side].container():
            _show_text(reply)
            _show_end(reply)


def _show_turn(turn: Turn, sides: Names, *, is_new: bool = False) -> dict[Side, Any]:
    """Show a question and its replies, beside each other where there are two; return the places of the replies."""
    with st.chat_message("user", avatar=_AVATARS["user"]):
        st.markdown(display.plain_lines(turn.asked, LONGEST_QUESTION))
    places = {}
    for column, (side, name) in zip(st.columns(len(sides)), sides.items(), strict=True):
        with column, st.chat_message("assistant", avatar=_AVATARS["assistant"]):
            if len(sides) > 1:
                st.caption(display.plain(name))
            places[side] = st.empty()
            with places[side].container():
                if is_new:
                    st.caption(t("try.loading"))
                else:
                    _show_text(turn.replies[side])
                    _show_end(turn.replies[side])
    return places


def _show_text(reply: Reply, *, is_whole: bool = True) -> None:
    if reply.text.strip():
        st.markdown(display.plain_lines(reply.text, LONGEST_ANSWER))
    elif is_whole and reply.error is None:
        st.caption(t("chat.says_nothing"))


def _show_end(reply: Reply) -> None:
    """Say why a reply ended where the model did not end it."""
    if reply.error is not None:
        st.error(explain(reply.error), icon=":material/error:")
    elif reply.reason is None:
        st.caption(t("chat.broken_off"))
    elif reply.reason == "length":
        st.caption(t("chat.cut"))
    elif reply.reason == "positions":
        st.caption(t("chat.no_positions"))
