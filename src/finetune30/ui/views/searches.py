"""Searches: one of them, looked at every few seconds while it goes on; first what may be believed of its best trial."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.client import ApiUnreachableError
from finetune30.ui.confirmation import is_asking
from finetune30.ui.layout import show_figures
from finetune30.ui.metrics import metric_value
from finetune30.ui.scores import score_title
from finetune30.ui.session import ask, bears_loss, client, lost, t
from finetune30.ui.views.search_actions import show_actions
from finetune30.ui.views.search_plots import show_plots
from finetune30.ui.views.search_rungs import show_rungs
from finetune30.ui.views.search_trials import show_importance, show_trials
from finetune30.ui.views.search_verdict import is_looking, show_verdict

Json = dict[str, Any]

REFRESH_SECONDS = 5


def show() -> None:
    """Show the page."""
    st.title(t("searches.title"), anchor=False)
    st.caption(t("searches.intro"))
    search_id = _choose()
    if search_id is None:
        return
    _load_or_keep(search_id)
    held = _snapshot(search_id)
    if held is None:
        return
    st.session_state.search_is_new = True
    moving = _goes_on(held["described"]) and not is_asking()
    st.fragment(bears_loss(_show_live), run_every=REFRESH_SECONDS if moving else None)(search_id)


def _choose() -> str | None:
    """Return the search of the address, or the chosen one, else the newest; None where there is none."""
    found = ask(lambda: client().list_searches())
    if found is None:
        return None
    if not found:
        st.info(t("searches.empty"), icon=":material/search_insights:")
        return None
    names = {one["id"]: f"{one['name']} · {one['spec']['sampler']} · {one['id'][:8]}" for one in found}
    address = st.query_params.get("search", "")
    if address and address not in names:  # one of earlier, or a name
        names = {address: address, **names}
    if st.session_state.get("search_address") != address or st.session_state.get("search_choice") not in names:
        st.session_state.search_choice = address or next(iter(names))
    chosen = st.selectbox(
        t("searches.choose"), list(names), format_func=lambda one: display.raw(names[one], 120), key="search_choice"
    )
    st.session_state.search_address = st.query_params["search"] = str(chosen)
    return str(chosen)


def _snapshot(search_id: str) -> Json | None:
    held: Json | None = st.session_state.get("search_seen")
    return held if held is not None and held["asked"] == search_id else None


def _load_or_keep(search_id: str) -> None:
    """Ask the API; one that is away leaves the last view standing, and the banner says so."""
    try:
        _load(search_id)
    except ApiUnreachableError as error:
        lost(error)


def _load(search_id: str) -> None:
    described = ask(lambda: client().load_search(search_id))
    if described is None:
        return
    held = _snapshot(search_id)
    judged = (described["end"] or {}).get("verdict") is not None
    told = [described["id"], described["counts"], judged]  # what the band of luck hangs on
    luck: Json = held["luck"] if held is not None and held["told"] == told else {}
    if not luck and described["best"] is not None:
        luck = ask(lambda: client().load_search_luck(search_id)) or {}
    st.session_state.search_seen = {"asked": search_id, "described": described, "luck": luck, "told": told}


def _goes_on(described: Json) -> bool:
    """Whether something may still come by itself: trials, repeats, a verdict, a look at test rows."""
    end = described["end"]
    is_judging = end is not None and end["verdict"] is None and not end["waits"]
    looks = end is not None and is_looking(end)
    return described["status"] == "RUNNING" or bool(described["counts"].get("OPEN")) or is_judging or looks


def _show_live(search_id: str) -> None:
    """Show the search; all of the page has just asked for it, what draws itself anew asks again."""
    held = _snapshot(search_id)
    went_on = held is not None and _goes_on(held["described"])
    if not st.session_state.pop("search_is_new", False):
        _load_or_keep(search_id)
    held = _snapshot(search_id)
    if held is None:
        return
    described = held["described"]
    show_verdict(described, held["luck"])
    _show_progress(described)
    _show_figures(described)
    show_actions(described)
    show_plots(described, held["luck"])
    show_importance(described)
    show_rungs(described)
    show_trials(described)
    if went_on and not _goes_on(described):
        st.rerun()  # no more refreshing


def _show_progress(described: Json) -> None:
    if described["status"] != "RUNNING":
        return
    ended, planned = _count_ended(described), described["planned"]
    if planned is None:
        st.progress(0.0, t("searches.progress_without_end", ended=ended))
        return
    ends_at = display.moment(described.get("ends_at"))
    text = t("searches.progress", ended=ended, planned=planned)
    if ends_at is not None:
        left = (ends_at - datetime.now(UTC)).total_seconds()
        clock = display.clock_in(left, st.context.timezone)
        text = t("searches.progress_until", ended=ended, planned=planned, clock=clock)
    st.progress(min(1.0, ended / planned), text)


def _show_figures(described: Json) -> None:
    best, planned, metric = described["best"], described["planned"], str(described["metric"])
    ended = _count_ended(described)
    show_figures(
        [
            (t("searches.state"), t(f"searches.state.{described['status']}")),
            (t("searches.ended"), str(ended) if planned is None else f"{ended} / {planned}"),
            (score_title(metric), metric_value(metric, best and best["value"])),
            (t("searches.best"), display.NOTHING if best is None else str(best["number"])),
            (t("searches.hours"), f"{described['hours']:.2f}"),
        ]
    )


def _count_ended(described: Json) -> int:
    return sum(count for state, count in described["counts"].items() if state != "OPEN")
