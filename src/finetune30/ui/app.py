"""The page's frame: language, key, connection and navigation. Streamlit runs this file for every visitor."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path

import streamlit as st
from streamlit.delta_generator_singletons import context_dg_stack, get_default_dg_stack_value

from finetune30.ui import session
from finetune30.ui.client import ApiClient, ApiError, ApiUnreachableError
from finetune30.ui.confirmation import ASKED
from finetune30.ui.health import show_health
from finetune30.ui.interruptions import finished_first
from finetune30.ui.session import t
from finetune30.ui.streamlit_words import build_script, build_style
from finetune30.ui.translations import LANGUAGE_TAGS, LANGUAGES, translate
from finetune30.ui.views import compare, data, experiments, follow, models, run, searches, submit, try_model

WATCH_SECONDS = 2
#: Less, so that no turn of the watch is left out.
SEEN_SECONDS = 1.5
ICON = Path(__file__).parent / "icon.png"
LOGO = Path(__file__).parent / "logo.png"

STYLE = Path(__file__).parent / "page.css"

#: Name in the address -> what shows it and its icon, in the order of the navigation.
PAGES = {
    "submit": (submit.show, ":material/rocket_launch:"),
    "follow": (follow.show, ":material/monitoring:"),
    "experiments": (experiments.show, ":material/table_rows:"),
    "run": (run.show, ":material/lab_profile:"),
    "searches": (searches.show, ":material/search_insights:"),
    "compare": (compare.show, ":material/compare_arrows:"),
    "models": (models.show, ":material/verified:"),
    "data": (data.show, ":material/dataset:"),
    "try": (try_model.show, ":material/chat:"),
}
FIRST = "submit"
HIDDEN = {"run"}


def main() -> None:
    """Show the page."""
    # Streamlit 1.67 leaves the container of a fragment open after its turn: a press that arrives while the side bar
    # refreshes itself is drawn by the same thread, and would put the whole page into the side bar.
    context_dg_stack.set(get_default_dg_stack_value())
    st.set_page_config(page_icon=ICON, layout="wide")
    session.settle_language()
    pages = _build_pages()
    st.session_state.pages = pages
    st.html(STYLE)
    if session.language() != "en":
        st.html(build_style(t))
    st.logo(str(LOGO), size="large", icon_image=str(ICON))
    # The first page's address is the bare one; who writes its name out gets it too, not "page not found".
    named = st.Page(submit.show, title=pages[FIRST].title, url_path=FIRST, visibility="hidden")
    chosen = st.navigation([*pages.values(), named])
    st.set_page_config(page_title=f"{chosen.title} · finetune30")  # tells tabs and bookmarks apart
    if st.session_state.get("view") != chosen.url_path:  # a question of the view before is not one of this
        st.session_state.view = chosen.url_path
        st.session_state.pop(ASKED, None)
    with st.sidebar:
        _choose_language()
        _enter_key()
        _tell_language()
        show_health()
    _watch_connection()
    if _is_open_to_everyone():
        st.error(t("key.api_without_keys"), icon=":material/lock_open:")
        return
    try:
        chosen.run()
    except ApiUnreachableError as error:
        session.lost(error)
        st.info(t("connection.waiting"), icon=":material/hourglass_empty:")


def _build_pages() -> dict[str, st.Page]:
    return {
        name: st.Page(
            show,
            title=t(f"navigation.{name}"),
            icon=icon,
            url_path=name if name != FIRST else "",
            default=name == FIRST,
            visibility="hidden" if name in HIDDEN else "visible",
        )
        for name, (show, icon) in PAGES.items()
    }


def _choose_language() -> None:
    codes = list(LANGUAGES)
    st.segmented_control(
        "語言 / Language",
        codes,
        default=session.language(),
        required=True,
        format_func=LANGUAGES.__getitem__,
        key="language_switch",
        on_change=_take_language,
    )
    if "language" in st.session_state and st.query_params.get("lang") != st.session_state.language:
        st.query_params["lang"] = st.session_state.language  # navigation clears the address
    elif "language" not in st.session_state and st.query_params.get("lang") in LANGUAGES:
        st.session_state.language = st.query_params["lang"]


@finished_first
def _take_language() -> None:
    """Speak the language that was pressed, before anything is drawn."""
    if chosen := st.session_state.language_switch:
        st.session_state.language = st.query_params["lang"] = chosen


def _tell_language() -> None:
    """Say in which language the document is: for the voice of a screen reader, and the shapes of Chinese characters.

    Streamlit calls every page English, and its own words are; only a script can change that. Nothing in it comes from
    anywhere else.
    """
    tag = LANGUAGE_TAGS[session.language()]
    words = build_script(partial(translate, "en"), t)
    st.html(f"<script>document.documentElement.lang = '{tag}'; {words}</script>", unsafe_allow_javascript=True)


def _enter_key() -> None:
    with st.expander(t("key.title"), icon=":material/key:", expanded=bool(st.session_state.get("key_wanted"))):
        with st.form("key", border=False, clear_on_submit=True):
            key = st.text_input(t("key.label"), type="password", help=t("key.help"), autocomplete="off")
            if st.form_submit_button(t("key.use"), width="stretch"):
                session.use_key(key.strip())
                st.session_state.key_wanted = False
        if st.session_state.get("api_key"):
            st.caption(t("key.in_use"))


@st.fragment(run_every=WATCH_SECONDS)
def _watch_connection() -> None:
    """Say that the API is away, and run the page anew when it is back.

    A press draws this too; it need not wait for what was asked a moment before.
    """
    state = st.session_state
    if not state.get("api_lost") and time.monotonic() - state.get("api_seen_up", -math.inf) < SEEN_SECONDS:
        return
    if session.client().is_up():
        state.api_seen_up = time.monotonic()
        if state.pop("api_lost", False):
            state.pop("api_lost_reason", None)
            st.toast(t("connection.back"), icon=":material/check_circle:")
            st.rerun()
        return
    state.api_lost = True
    st.error(t("connection.lost", address=session.api_url()), icon=":material/cloud_off:")


def _is_open_to_everyone() -> bool:
    """Whether the page is reachable from elsewhere while the API lets everybody in."""
    if not session.requires_key():
        return False
    visitor = ApiClient(session.api_url())
    try:
        visitor.load_statistics()
    except ApiError as error:
        return error.status not in (401, 403)
    except ApiUnreachableError:
        return False
    finally:
        visitor.close()
    return True


if __name__ == "__main__":
    main()
