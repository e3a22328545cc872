"""What a visitor's session holds: language, API key, connection; and how a question to the API is asked."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import streamlit as st

from finetune30.ui import display
from finetune30.ui.client import ApiClient, ApiError, ApiUnreachableError
from finetune30.ui.messages import translate_message
from finetune30.ui.translations import LANGUAGES, has_text, match_language, translate

DEFAULT_API = "http://127.0.0.1:8000"
API_OPTION = "--api-url"
KEY_OPTION = "--require-key"

T = TypeVar("T")
Arguments = ParamSpec("Arguments")


def language() -> str:
    """Return the language in which the page is drawn."""
    spoken: str | None = st.session_state.get("spoken")
    return settle_language() if spoken is None else spoken


def settle_language() -> str:
    """Find the chosen language, else the browser's, and keep it: it is asked for with every word of a drawing."""
    chosen = st.session_state.get("language") or st.query_params.get("lang")
    spoken = chosen if chosen in LANGUAGES else match_language(st.context.locale)
    st.session_state.spoken = spoken
    return spoken


def t(key: str, **values: Any) -> str:
    """Return a text of the page in the session's language."""
    return translate(language(), key, **values)


def t_or(key: str, otherwise: str) -> str:
    """Return a text of the page, or `otherwise` where the catalogue has none (a name that a later API brings)."""
    return t(key) if has_text(language(), key) else otherwise


def api_url() -> str:
    """Return the address of the API, given to the page's process on its command line."""
    arguments = sys.argv
    if API_OPTION in arguments[:-1]:
        return arguments[arguments.index(API_OPTION) + 1]
    return DEFAULT_API


def requires_key() -> bool:
    """Tell whether the page is reachable from elsewhere, so that every visitor needs a key of their own."""
    return KEY_OPTION in sys.argv


def client() -> ApiClient:
    """Return the session's client."""
    held: ApiClient | None = st.session_state.get("client")
    if held is None:
        held = ApiClient(api_url(), st.session_state.get("api_key"))
        st.session_state.client = held
    return held


def use_key(key: str | None) -> None:
    """Speak to the API with this key from now on; it is forgotten when the page is closed."""
    if (held := st.session_state.pop("client", None)) is not None:
        held.close()
    for told in ("highest_priority", "health"):  # to the holder of the key before
        st.session_state.pop(told, None)
    st.session_state.api_key = key or None


def local_time(value: Any) -> str:
    """Return a moment in the visitor's time zone."""
    return display.local_time(value, st.context.timezone)


def show_error(error: ApiError) -> None:
    """Show what the API refused and what to do next."""
    if error.is_missing_route:
        st.caption(t("error.missing_route"))
        return
    st.error(explain(error.as_dict()), icon=":material/error:")


def explain(error: Mapping[str, Any]) -> str:
    """Return an error of the API (error, message, remedy) as Markdown in the session's language.

    A message without a translation stays English beneath what its code says.
    """
    message, remedy = str(error.get("message") or ""), str(error.get("remedy") or "")
    said = translate_message(language(), message)
    if said is None:
        code = error.get("error")
        said = f"{t_or(f'api_error.{code}', t('api_error.unknown'))}：{message}"
    text = display.plain(said, 2000)
    if remedy:
        done = translate_message(language(), remedy) or remedy
        text += "\n\n" + t("error.remedy", remedy=display.plain(done, 500))
    return text


def in_own_words(text: str) -> str:
    """Return a message of the API in the session's language, as it came where there is no translation."""
    return translate_message(language(), text) or text


def ask(question: Callable[[], T]) -> T | None:
    """Ask the API; a refusal is shown where it happens and gives None. An API that is away ends the page's run."""
    try:
        return question()
    except ApiError as error:
        refuse(error)
        return None


def refuse(error: ApiError) -> None:
    """Show a refusal of the API; the first for want of a key opens the place where it is entered."""
    if error.status == 401 and not st.session_state.get("key_wanted"):
        st.session_state.key_wanted = True
        st.rerun()  # the side bar was drawn before this
    show_error(error)


def lost(error: ApiUnreachableError) -> None:
    """Remember that the API is away; the banner watches for its return."""
    st.session_state.api_lost = True
    st.session_state.api_lost_reason = str(error)


def bears_loss(draw: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Return what draws a fragment in a form that an API which goes away does not break; the banner says so.

    Streamlit itself shows what a fragment raises, as an error that says nothing, so nobody above could.
    """

    @functools.wraps(draw)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            draw(*args, **kwargs)
        except ApiUnreachableError as error:
            lost(error)

    return run
