"""The filters above the table of runs: a widget for each query word of the API's listing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.metrics import is_share
from finetune30.ui.scores import score_in_sentence, score_title
from finetune30.ui.session import t
from finetune30.ui.states import STATUSES

Json = dict[str, Any]
#: Words of the listing without a widget: the table pages by itself, and the score's bounds are those of the accuracy.
LEFT_OUT = frozenset({"min_accuracy", "limit", "cursor", "with_total", "columns", "differences"})

SORTS = ("created_at", "name", "train_runtime", "score", "eval_accuracy")
STARRED = ("true", "false")
ARCHIVED = ("no", "only", "all")


#: Scores by which runs are measured, with whether their values are shares (0-1).
Scores = Mapping[str, bool]


def choose_filters(scores: Scores) -> Json:
    """Return the query words that the person chose; kept while they visit other pages.

    Bounds need one of the scores, and take it for granted where there is but one.
    """
    with st.container(key="run-filters"):
        first = st.columns([3, 3, 3, 2, 2], vertical_alignment="bottom")
        chosen = {word: _draw(word, place, scores) for word, place in zip(_FIRST, first, strict=True)}
        with st.expander(t("experiments.filters"), expanded=_any_set(), icon=":material/filter_list:"):
            for words in _MORE:
                places = st.columns(len(words))
                chosen |= {word: _draw(word, place, scores) for word, place in zip(words, places, strict=True)}
    if chosen["min_score"] is not None or chosen["max_score"] is not None:
        chosen["score_name"] = _measured_by(scores)
    return {word: value for word, value in chosen.items() if value not in (None, "", [], "no")}


def _draw(word: str, place: Any, scores: Scores) -> Any:
    with place:
        return WIDGETS[word](scores)


def _any_set() -> bool:
    """Tell whether one of the folded filters is set."""
    prefixes = tuple(f"filter_{word}" for words in _MORE for word in words)
    nothing = (None, "", "no")
    return any(str(key).startswith(prefixes) and value not in nothing for key, value in st.session_state.items())


def _text(word: str, label: str, most: int, icon: str | None = None) -> str:
    text: str = st.text_input(label, key=f"filter_{word}", max_chars=most, icon=icon, persist_state="session")
    return text.strip()


def _status(_: Scores) -> list[str]:
    return st.multiselect(
        t("experiments.status"),
        STATUSES,
        format_func=lambda value: t(f"status.{value}"),
        key="filter_status",
        placeholder=t("experiments.any"),
        persist_state="session",
    )


def _tag(_: Scores) -> list[str]:
    kept = st.session_state.get("filter_tag") or []  # of a link, or of runs that are gone
    return st.multiselect(
        t("experiments.tag"),
        list(dict.fromkeys([*st.session_state.get("experiments_tags", ()), *kept])),
        key="filter_tag",
        placeholder=t("experiments.any"),
        persist_state="session",
    )


def _starred(_: Scores) -> str | None:
    chosen: str | None = st.selectbox(
        t("experiments.starred"),
        STARRED,
        None,
        format_func=lambda value: t(f"starred.{value}"),
        key="filter_starred",
        placeholder=t("experiments.any"),
        persist_state="session",
    )
    return chosen


def _archived(_: Scores) -> str:
    return st.selectbox(
        t("experiments.archived"),
        ARCHIVED,
        format_func=lambda value: t(f"archived.{value}"),
        key="filter_archived",
        persist_state="session",
    )


def _sort_by(_: Scores) -> str | None:
    return st.selectbox(
        t("experiments.sort_by"),
        SORTS,
        format_func=lambda value: t(f"sort.{value}"),
        key="filter_sort_by",
        help=t("experiments.sort_by_help"),
        persist_state="session",
    )


def _desc(_: Scores) -> str:
    st.session_state.setdefault("filter_desc", True)  # an address may have said otherwise
    chosen = st.toggle(t("experiments.descending"), key="filter_desc", persist_state="session")
    return "true" if chosen else "false"


def _score_name(scores: Scores) -> str | None:
    kept = st.session_state.get("filter_score_name")  # of a visit when there were such runs
    known = list(dict.fromkeys((*scores, kept) if kept else scores))
    chosen: str | None = st.selectbox(
        t("experiments.score_name"),
        known,
        None,
        format_func=score_title,
        key="filter_score_name",
        placeholder=t("experiments.any"),
        persist_state="session",
    )
    return chosen


def _measured_by(scores: Scores) -> str | None:
    """The score that bounds are about: the chosen one, else the only one."""
    chosen: str | None = st.session_state.get("filter_score_name")
    return chosen or (next(iter(scores)) if len(scores) == 1 else None)


def _score_bound(word: str, scores: Scores) -> float | None:
    """A bound of the score: shares as per cent, like everywhere on the page; none without a score that it is of."""
    name = _measured_by(scores)
    if name is None:
        st.number_input(t(f"experiments.{word}"), value=None, disabled=True, help=t("experiments.score_bound_help"))
        return None
    key, label = f"filter_{word}-{name}", t(f"experiments.{word}_of", score=score_in_sentence(name))
    if scores.get(name, is_share(name)):
        share = st.number_input(f"{label} (%)", 0.0, 100.0, None, 1.0, key=key, persist_state="session")
        return None if share is None else share / 100
    return st.number_input(label, value=None, step=0.01, format="%g", key=key, persist_state="session")


def _max_runtime(_: Scores) -> float | None:
    return st.number_input(
        t("experiments.max_runtime"), 0.0, None, None, 10.0, key="filter_max_runtime", persist_state="session"
    )


def _start_date(_: Scores) -> str | None:
    return _moment(st.date_input(t("experiments.start_date"), None, key="filter_start_date", persist_state="session"))


def _end_date(_: Scores) -> str | None:
    day = st.date_input(t("experiments.end_date"), None, key="filter_end_date", persist_state="session")
    return _moment(day + timedelta(days=1)) if isinstance(day, date) else None


def _moment(day: Any) -> str | None:
    """The first moment of a local day, for the API."""
    if not isinstance(day, date):
        return None
    return datetime.combine(day, time(), display.find_zone(st.context.timezone)).astimezone(UTC).isoformat()


#: Every word that the person may choose, by the widget that asks for it.
WIDGETS: dict[str, Callable[[Scores], Any]] = {
    "name": lambda _: _text("name", t("experiments.name"), 200, ":material/search:"),
    "status": _status,
    "tag": _tag,
    "starred": _starred,
    "archived": _archived,
    "sort_by": _sort_by,
    "desc": _desc,
    "score_name": _score_name,
    "min_score": lambda scores: _score_bound("min_score", scores),
    "max_score": lambda scores: _score_bound("max_score", scores),
    "max_runtime": _max_runtime,
    "start_date": _start_date,
    "end_date": _end_date,
    "model": lambda _: _text("model", t("experiments.model"), 500),
    "dataset_digest": lambda _: _text("dataset_digest", t("experiments.data"), 128).lower(),
}
_FIRST = ("name", "status", "tag", "sort_by", "desc")
#: What is needed less often, folded while none of it is set.
_MORE = (
    ("score_name", "min_score", "max_score", "max_runtime"),
    ("starred", "archived", "start_date", "end_date"),
    ("model", "dataset_digest"),
)
