"""What is done to marked runs: opened, compared, tagged, starred, archived, cancelled, deleted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.client import ApiError, ApiUnreachableError
from finetune30.ui.confirmation import confirmed_button, take_done
from finetune30.ui.session import client, explain, lost, refuse, t
from finetune30.ui.states import LIVE
from finetune30.ui.views.run_marks import LONGEST_TAG, choose_tags
from finetune30.ui.views.run_table import let_go, state_label

Json = dict[str, Any]

MOST_COMPARED = 8
#: Names in a dialog; of more the number says how many.
MOST_NAMED = 12
#: How it is said in which states the runs are that a cancellation ends.
_CANCELLED = {"QUEUED": "bulk.cancel_waiting", "RUNNING": "bulk.cancel_running", "PAUSED": "bulk.cancel_paused"}
#: What came of the last press; of it, what was refused and stays until it is dismissed or something else is done.
_ANSWERS, _REFUSED = "bulk_answers", "bulk_refused"


def show_actions(marked: Sequence[Json]) -> None:
    """Show what can be done to the marked runs; each press is answered for every run."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.page_link(
            st.session_state.pages["run"],
            label=t("action.open_run"),
            icon=":material/lab_profile:",
            query_params={"run": str(marked[0]["id"])} if marked else None,
            disabled=len(marked) != 1,
        )
        st.page_link(
            st.session_state.pages["compare"],
            label=t("experiments.compare", count=len(marked)),
            icon=":material/compare_arrows:",
            query_params={"ids": ",".join(str(run["id"]) for run in marked)} if marked else None,
            disabled=not 2 <= len(marked) <= MOST_COMPARED,
        )
        if marked:
            st.button(t("bulk.let_go"), icon=":material/deselect:", key="bulk-let-go", on_click=let_go)
        _show_star(marked)
        _show_tags(marked)
        _show_archive(marked)
        _show_cancel(marked)
        _show_delete(marked)
    if any(take_done(f"bulk-{what}") for what in ("tag", "cancel", "delete")):
        st.rerun()  # totals and filters know it too
    _show_answers()


def _show_star(marked: Sequence[Json]) -> None:
    starred = bool(marked) and all(run.get("starred") for run in marked)
    icon = ":material/star_border:" if starred else ":material/star:"
    if st.button(t("marks.unstar" if starred else "marks.star"), icon=icon, disabled=not marked, key="bulk-star"):
        _at_once(marked, {"starred": not starred})


def _show_archive(marked: Sequence[Json]) -> None:
    archived = bool(marked) and all(run.get("archived") for run in marked)
    icon = ":material/unarchive:" if archived else ":material/inventory_2:"
    label = t("marks.unarchive" if archived else "marks.archive")
    if st.button(label, icon=icon, disabled=not marked, key="bulk-archive", help=t("marks.archive_help")):
        _at_once(marked, {"archived": not archived})


def _show_tags(marked: Sequence[Json]) -> None:
    present = list(dict.fromkeys(tag for run in marked for tag in run.get("tags") or ()))

    def ask() -> None:
        known = [tag for tag in st.session_state.get("experiments_tags", ()) if tag not in present]
        choose_tags(t("bulk.add_tags"), known, [], "bulk-add-tags")
        if present:
            st.pills(
                t("bulk.remove_tags"),
                present,
                selection_mode="multi",
                format_func=lambda tag: display.plain(tag, LONGEST_TAG),
                key="bulk-remove-tags",
            )
        st.markdown(_listed(marked))  # beneath the field, whose open menu would cover the buttons

    def act() -> None:
        state = st.session_state
        marks = {"add_tags": state.get("bulk-add-tags") or [], "remove_tags": state.get("bulk-remove-tags") or []}
        if marks["add_tags"] or marks["remove_tags"]:
            _change(marked, "edit", marks)

    _button("tag", t("bulk.tag"), ask, act, ":material/sell:", t("bulk.tag_confirm", count=len(marked)), not marked)


def _show_cancel(marked: Sequence[Json]) -> None:
    stopped = [run for run in marked if run["status"] in LIVE]

    def ask() -> None:
        for status, words in _CANCELLED.items():
            if runs := [run for run in stopped if run["status"] == status]:
                st.markdown(t(words, count=len(runs)))
                st.markdown(_listed(runs))
        if len(stopped) < len(marked):
            st.caption(t("bulk.cancel_others", count=len(marked) - len(stopped)))

    label, confirm = t("bulk.cancel"), t("bulk.cancel_confirm", count=len(stopped))
    act = lambda: _change(stopped, "cancel")  # noqa: E731
    _button("cancel", label, ask, act, ":material/stop_circle:", confirm, not stopped)


def _show_delete(marked: Sequence[Json]) -> None:
    def ask() -> None:
        st.markdown(t("bulk.delete_question", count=len(marked)))
        st.markdown(_listed(marked))
        running = sum(run["status"] == "RUNNING" for run in marked)
        if running:
            st.warning(t("bulk.delete_running", count=running), icon=":material/info:")

    one = t("run.delete_confirm", name=display.plain(marked[0]["name"], 40)) if len(marked) == 1 else ""
    confirm = one or t("bulk.delete_confirm", count=len(marked))
    act = lambda: _change(marked, "delete")  # noqa: E731
    _button("delete", t("run.delete"), ask, act, ":material/delete:", confirm, not marked, danger=True)


def _button(
    what: str,
    label: str,
    ask: Callable[[], None],
    act: Callable[[], None],
    icon: str,
    confirm: str,
    disabled: bool,
    *,
    danger: bool = False,
) -> None:
    confirmed_button(label, ask, act, key=f"bulk-{what}", icon=icon, confirm=confirm, danger=danger, disabled=disabled)


def _at_once(marked: Sequence[Json], marks: Json) -> None:
    """Do what can be undone with the same button, without asking."""
    try:
        _change(marked, "edit", marks)
    except ApiUnreachableError as error:
        lost(error)
        st.toast(t("confirm.away"), icon=":material/cloud_off:")
        return
    except ApiError as error:
        refuse(error)
        return
    st.rerun()


def _change(runs: Sequence[Json], action: str, marks: Json | None = None) -> None:
    names = {str(run["id"]): str(run["name"]) for run in runs}
    answers = client().change_many(action, list(names), marks)
    st.session_state[_ANSWERS] = [
        {**answer, "name": answer.get("name") or names.get(answer["id"])} for answer in answers
    ]


def _show_answers() -> None:
    """Say what came of the last press: how many were changed, and of each that was refused why."""
    if answers := st.session_state.pop(_ANSWERS, None):
        counts = {outcome: sum(answer["outcome"] == outcome for answer in answers) for outcome in ("done", "unchanged")}
        st.toast(t("bulk.answered", **counts), icon=":material/check_circle:")
        st.session_state[_REFUSED] = [answer for answer in answers if answer["outcome"] == "refused"]
    refused: list[Json] = st.session_state.get(_REFUSED) or []
    if not refused:
        return
    with st.container(border=True):
        st.markdown(t("bulk.refused_title", count=len(refused)))
        for answer in refused[:MOST_NAMED]:
            said = explain(answer.get("error") or {})
            st.error(f"**{display.plain(answer['name'] or answer['id'], 80)}**  \n{said}", icon=":material/error:")
        if st.button(t("bulk.dismiss"), icon=":material/close:", key="bulk-dismiss"):
            del st.session_state[_REFUSED]
            st.rerun()


def _listed(runs: Sequence[Json]) -> str:
    lines = [
        f"- {display.plain(run['name'], 80)} · {state_label(run['status'])} · `{str(run['id'])[:8]}`" for run in runs
    ]
    more = [f"- {t('bulk.more', count=len(runs) - MOST_NAMED)}"] if len(runs) > MOST_NAMED else []
    return "\n".join([*lines[:MOST_NAMED], *more])
