"""Part of Data: labels that a finished model doubts, to look at and put right."""

from __future__ import annotations

from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.rows import columns_of, text_of
from finetune30.ui.scores import score_value
from finetune30.ui.session import ask, bears_loss, client, explain, in_own_words, t
from finetune30.ui.views import relabelling

Json = dict[str, Any]

PAGE_ROWS = 50
REFRESH_SECONDS = 2
#: Who judges: the run's own model, or as many models, each trained without the rows it judges.
JUDGES = (None, 5, 10)


def show(version: Json) -> None:
    """Show the suspects of the version as a run that was trained on it sees them."""
    st.caption(t("suspects.intro"))
    run_id = _choose_run(version)
    if run_id is None:
        return
    found = ask(lambda: client().load_suspects(run_id, limit=PAGE_ROWS))
    if found is None:
        return
    if found["state"] == "searching":
        st.fragment(bears_loss(_watch), run_every=REFRESH_SECONDS)(run_id)
    elif found["state"] == "ready":
        _show_found(version, run_id, found)
    else:
        _offer_search(run_id, found)


def _choose_run(version: Json) -> str | None:
    details = ask(lambda: client().load_dataset(str(version["digest"])))
    if details is None:
        return None
    # Only a finished model can judge; the API puts the best first.
    able = [run for run in details.get("runs") or () if run.get("status") == "SUCCEEDED"]
    names = {run["id"]: f"{run['name']} · {score_value(run)} · {run['id'][:8]}" for run in able}
    if not names:
        st.info(t("suspects.no_run"), icon=":material/model_training:")
        return None
    chosen: str = st.selectbox(
        t("suspects.run"),
        list(names),
        format_func=lambda run_id: display.raw(names.get(run_id, run_id), 100),
        help=t("suspects.run_help"),
        key=f"suspects-run-{version['digest']}",
    )
    return chosen


def _offer_search(run_id: str, found: Json) -> None:
    error = found.get("error")
    if error:
        st.error(explain(error), icon=":material/error:")
    _search(run_id)


def _search(run_id: str, *, without: int | str | None = "") -> None:
    """Let the person choose who judges and begin; `without` leaves out the judges whose finding is there."""
    folds: int | None = st.radio(
        t("suspects.judge"),
        [choice for choice in JUDGES if choice != without],
        format_func=lambda count: t("suspects.judge_folds", count=count) if count else t("suspects.judge_own"),
        help=t("suspects.judge_help"),
        key=f"suspects-judge-{run_id}",
    )
    pressed = st.button(t("suspects.search"), type="primary", icon=":material/search:")
    if pressed and ask(lambda: client().search_suspects(run_id, folds)) is not None:
        st.rerun()


def _watch(run_id: str) -> None:
    """Wait for the search; the page is run anew when it has ended."""
    st.info(t("suspects.searching"), icon=":material/hourglass_top:")
    found = ask(lambda: client().load_suspects(run_id, limit=1))
    if found is not None and found["state"] != "searching":
        st.rerun()


def _show_found(version: Json, run_id: str, found: Json) -> None:
    suspects = int(found.get("suspects") or 0)
    parts = str(found.get("method") or "").split("; ")  # how the doubts were ranked; who judged
    method = display.plain(t("form.and").join(map(in_own_words, parts)))
    st.caption(t("suspects.method", rows=display.number(found.get("rows")), method=method))
    if suspects:
        st.markdown(f"**{t('suspects.count', count=display.number(suspects))}**")
    else:
        st.success(t("suspects.none"), icon=":material/check_circle:")
    with st.popover(t("suspects.again"), icon=":material/group:"):
        _search(run_id, without=found.get("folds"))
    everything = st.toggle(t("suspects.everything"), key=f"suspects-all-{run_id}", help=t("suspects.everything_help"))
    count = int(found["rows"]) if everything else suspects
    if not count:
        return
    pages = -(-count // PAGE_ROWS)
    page = st.pagination(pages, key=f"suspects-page-{run_id}-{everything}") if pages > 1 else 1
    if everything or page > 1:
        start = (page - 1) * PAGE_ROWS
        found = ask(lambda: client().load_suspects(run_id, start, PAGE_ROWS, everything=everything)) or {}
    rows = [{**row, "split": "train", "index": row["row"]} for row in found.get("ranking") or ()]
    if st.button(t("suspects.take_all"), icon=":material/done_all:", help=t("suspects.take_all_help")):
        _take_suggestions(version, rows)
    beside = {
        t("suspects.suggested"): [display.raw(row.get("suggested_label") or "") for row in rows],
        t("suspects.score"): [row.get("score") for row in rows],
    }
    relabelling.edit_labels(version, rows, key=f"suspects-{run_id}-{everything}-{page}", beside=beside)
    relabelling.offer_version(version)


def _take_suggestions(version: Json, rows: list[Json]) -> None:
    """Put every suggestion of this page into the changes; each can still be put back."""
    pending = relabelling.load_pending(version)
    target = columns_of(version, "target")[0]  # problems whose rows are ranked have one
    for row in rows:
        if row["suggested_label"] != row[target]:
            text = text_of(row, columns_of(version, "text"))
            change = {"before": row[target], "label": row["suggested_label"], "text": text}
            pending[("train", int(row["index"]), target)] = change
    relabelling.restart_tables()
    st.rerun()
