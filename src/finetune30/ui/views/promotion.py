"""Part of Models: the card of a version, moving an alias to it, and rolling one back."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.confirmation import confirmed_button, take_done
from finetune30.ui.layout import fold
from finetune30.ui.session import ask, client, in_own_words, t
from finetune30.ui.views.verdicts import say_pair

Json = dict[str, Any]

#: Offered first; others can be typed.
USUAL = ("production", "staging", "candidate")


def show(model: Json) -> None:
    """Offer what can be done with the versions of a model."""
    name, numbers = model["name"], [version["number"] for version in model["versions"]]
    st.subheader(t("models.promote_title"), anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        number = st.selectbox(t("models.version"), numbers, key=f"models_version-{name}")
        known = list(dict.fromkeys([*USUAL, *(alias["alias"] for alias in model["aliases"])]))
        alias = st.selectbox(
            t("models.alias"), known, help=t("models.alias_help"), accept_new_options=True, key=f"models_alias-{name}"
        )
        reason = st.text_input(t("models.reason"), max_chars=2000, key=f"models_reason-{name}").strip()
    if take_done(f"promote-{name}") or take_done(f"rollback-{name}"):
        st.success(t("models.promoted", name=name, alias=display.plain(alias or "")), icon=":material/check:")
    if alias:
        _offer_moves(model, number, alias, reason)
    part = fold(t("models.card", number=number), f"models-card-{name}-{number}", ":material/badge:")
    if part.open and (card := ask(lambda: client().load_card(name, number))) is not None:
        with part:
            st.code("\n".join(map(display.raw, card.splitlines())), language=None, wrap_lines=True)


def say_paired(paired: Json, name: str, number: int, run_of: dict[int, str]) -> str:
    """Return how a version compares with the one under the alias, as Markdown in the session's language."""
    if paired.get("p_value_adjusted") is not None:
        names = {run_of[one]: f"{name}:{one}" for one in (paired["against"], number)}
        return say_pair(paired, names)
    return display.plain(in_own_words(str(paired["message"])), 1000)


def _offer_moves(model: Json, number: int, alias: str, reason: str) -> None:
    name = model["name"]
    preview = ask(lambda: client().preview_promotion(name, number, alias))
    if preview is None:
        return
    now = preview["alias"]
    run_of = {version["number"]: version["run_id"] for version in model["versions"]}
    paired = say_paired(preview["paired"], name, number, run_of)
    st.info(paired, icon=":material/balance:")
    if not reason:
        st.caption(t("models.reason_missing"))
    seen = 0 if now is None else now["generation"]
    with st.container(horizontal=True):
        confirmed_button(
            t("models.promote"),
            t("models.question", name=name, alias=display.plain(alias), number=number, paired=paired),
            lambda: client().promote(name, number, alias, reason=reason, seen=seen),
            key=f"promote-{name}",
            icon=":material/upgrade:",
            confirm=t("models.promote"),
            disabled=not reason or (now is not None and now["number"] == number),
        )
        if now is not None:
            confirmed_button(
                t("models.rollback"),
                t("models.rollback_question", name=name, alias=display.plain(alias), number=now["number"]),
                lambda: client().roll_back(name, alias, reason=reason, seen=seen),
                key=f"rollback-{name}",
                icon=":material/undo:",
                confirm=t("models.rollback"),
                danger=True,
                disabled=not reason,
            )
