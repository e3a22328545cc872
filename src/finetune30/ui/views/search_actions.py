"""What can be done with a search: stop it, go on with it, add trials."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui.confirmation import confirmed_button, take_done
from finetune30.ui.session import client, t
from finetune30.ui.views.search_verdict import is_looking

Json = dict[str, Any]

#: Trials that a search may have (search.trials).
MOST_TRIALS = 1000
_LIMITS = {"hours": "searches.hours_in_all", "disk_gb": "searches.disk_in_all"}


def show_actions(described: Json) -> None:
    """Show the buttons that suit the state of the search; each asks first."""
    search_id = str(described["id"])
    with st.container(horizontal=True, vertical_alignment="center"):
        if described["status"] == "RUNNING" or _has_open_runs(described):
            _show_stop(search_id)
        if described["kind"] == "local":
            if described["status"] != "RUNNING":
                st.caption(t("searches.at_a_terminal", search=search_id[:8]))
        else:
            if described["status"] in ("STOPPED", "FAILED") or (described["end"] or {}).get("waits"):
                _show_resume(described)
            if described["planned"] is not None and described["spec"]["sampler"] != "grid":
                _show_more(described)
        if _may_test(described):
            _show_test(search_id, len(described["end"]["tests"]) + 1)
    if any(take_done(f"search-{what}-{search_id}") for what in ("stop", "resume", "more", "test")):
        st.rerun()  # all of the page: what goes on again is looked at anew from now on


def _has_open_runs(described: Json) -> bool:
    """Whether something is left that a stop would cancel: open trials, or repeats of an end."""
    repeats = (described["end"] or {}).get("runs") or {}
    return bool(described["counts"].get("OPEN")) or any(repeats.get(state) for state in ("QUEUED", "RUNNING"))


def _may_test(described: Json) -> bool:
    """Whether a judged end has repeats whose test rows could be opened, and nobody does it."""
    end = described["end"]
    if end is None or not end["sets"] or (end["verdict"] or {}).get("verdict") is None:
        return False
    return not is_looking(end)


def _show_test(search_id: str, count: int) -> None:
    confirmed_button(
        t("searches.test"),
        t("searches.test_question", count=count),
        lambda: client().test_search(search_id),
        key=f"search-test-{search_id}",
        icon=":material/quiz:",
        confirm=t("searches.test_confirm"),
    )


def _show_stop(search_id: str) -> None:
    now = f"search-stop-now-{search_id}"

    def question() -> None:
        st.markdown(t("searches.stop_question"))
        st.checkbox(t("searches.stop_now"), key=now)

    confirmed_button(
        t("searches.stop"),
        question,
        lambda: client().stop_search(search_id, now=bool(st.session_state.get(now))),
        key=f"search-stop-{search_id}",
        icon=":material/stop_circle:",
        confirm=t("searches.stop_confirm"),
    )


def _show_resume(described: Json) -> None:
    search_id, limits = str(described["id"]), described["spec"].get("limits") or {}
    held = {name: limits[name] for name in _LIMITS if limits.get(name) is not None}

    def question() -> None:
        st.markdown(t("searches.resume_question"))
        for name, value in held.items():
            st.number_input(t(_LIMITS[name]), min_value=0.01, value=float(value), key=_key(name))

    def resume() -> None:
        given = {name: st.session_state.get(_key(name)) for name in held}
        more = {name: value for name, value in given.items() if value is not None and value != held[name]}
        client().resume_search(search_id, more)

    def _key(name: str) -> str:
        return f"search-{name}-{search_id}"

    confirmed_button(
        t("searches.resume"),
        question,
        resume,
        key=f"search-resume-{search_id}",
        icon=":material/play_circle:",
        confirm=t("searches.resume_confirm"),
    )


def _show_more(described: Json) -> None:
    search_id, planned = str(described["id"]), int(described["planned"])
    count, most = f"search-more-count-{search_id}", MOST_TRIALS - planned

    def question() -> None:
        st.markdown(t("searches.more_question"))
        st.number_input(t("searches.more_count"), 1, most, min(10, most), key=count)

    confirmed_button(
        t("searches.more"),
        question,
        lambda: client().resume_search(search_id, {"trials": planned + int(st.session_state[count])}),
        key=f"search-more-{search_id}",
        icon=":material/add_circle:",
        confirm=t("searches.more_confirm"),
        disabled=most < 1,
    )
