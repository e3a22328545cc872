"""The state of the table of runs in the address: filters, order, columns, page and selection, for links to it.

What the widgets hold counts while a visitor works; an address that this view did not write itself (a link, a bookmark,
a way back) is taken over once. Words that cannot be read are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Any, NamedTuple

import streamlit as st

#: Where the session keeps the address as this view wrote it last.
_WRITTEN = "experiments_address"
_MOST_SELECTED = 100


class Word(NamedTuple):
    """A word of the address: the session's key, and how its texts are read (None: cannot be) and written."""

    key: str
    load: Callable[[list[str]], Any]
    save: Callable[[Any], list[str]]


def _one(text: list[str]) -> str | None:
    return text[0][:500] or None


def _number(text: list[str]) -> float | None:
    try:
        value = float(text[0])
    except ValueError:
        return None
    return value if value == value and abs(value) < 1e12 else None


def _day(text: list[str]) -> date | None:
    try:
        return date.fromisoformat(text[0])
    except ValueError:
        return None


def _truth(text: list[str]) -> bool | None:
    return {"true": True, "false": False}.get(text[0])


def _each(value: Iterable[str]) -> list[str]:
    return [str(item) for item in value]


def _among(allowed: Iterable[str]) -> Callable[[list[str]], str | None]:
    known = frozenset(allowed)
    return lambda text: text[0] if text[0] in known else None


def _all_among(allowed: Iterable[str]) -> Callable[[list[str]], list[str] | None]:
    known = frozenset(allowed)
    return lambda texts: [text for text in texts if text in known] or None


def _texts(most: int) -> Callable[[list[str]], list[str] | None]:
    return lambda texts: [text[:200] for text in texts[:most] if text] or None


def _single(value: Any) -> list[str]:
    return [str(value)]


def build_words(statuses: Iterable[str], orders: Iterable[str], columns: Sequence[str]) -> dict[str, Word]:
    """Return every word of the address but the bounds of a score, which bear its name; `columns` are the usual ones."""

    def save_columns(chosen: list[str]) -> list[str]:
        return [] if chosen == list(columns) else chosen

    return {
        "name": Word("filter_name", _one, _single),
        "status": Word("filter_status", _all_among(statuses), _each),
        "tag": Word("filter_tag", _texts(10), _each),
        "sort_by": Word("filter_sort_by", _among(orders), _single),
        "desc": Word("filter_desc", _truth, lambda value: [] if value else ["false"]),
        "starred": Word("filter_starred", _among(("true", "false")), _single),
        "archived": Word("filter_archived", _among(("only", "all")), _single),
        "score_name": Word("filter_score_name", _one, _single),
        "max_runtime": Word("filter_max_runtime", _number, _single),
        "start_date": Word("filter_start_date", _day, _single),
        "end_date": Word("filter_end_date", _day, _single),
        "model": Word("filter_model", _one, _single),
        "dataset_digest": Word("filter_dataset_digest", _one, _single),
        "columns": Word("experiments_columns", _texts(60), save_columns),
        "differing": Word("experiments_differing", _truth, lambda value: [] if value else ["false"]),
        "page": Word("experiments_place", _load_place, _save_place),
        "selected": Word("experiments_selected", _texts(_MOST_SELECTED), _each),
    }


#: Values that say nothing: the address leaves them out.
_NOTHING: tuple[Any, ...] = (None, "", [], (), "no", "created_at")


def take_address(words: dict[str, Word]) -> None:
    """Let the session hold what an address says that came from elsewhere; call it before any widget is drawn."""
    given = {name: st.query_params.get_all(name) for name in st.query_params if name in words or _is_bound(name)}
    if not given or given == st.session_state.get(_WRITTEN):
        return
    for key in [key for key in st.session_state if _is_bound(str(key).removeprefix("filter_"))]:
        del st.session_state[key]
    for name, word in words.items():
        st.session_state.pop(word.key, None)
        value = word.load(given[name]) if given.get(name) else None
        if value is not None:
            st.session_state[word.key] = value
    for name in filter(_is_bound, given):
        if (bound := _number(given[name])) is not None:
            st.session_state[f"filter_{name}"] = bound
    st.session_state[_WRITTEN] = given


def write_address(words: dict[str, Word]) -> None:
    """Let the address say what the session holds; call it after the widgets are drawn."""
    state = st.session_state
    wanted = {
        name: word.save(state[word.key])
        for name, word in words.items()
        if word.key in state and state[word.key] not in _NOTHING
    }
    for key in state:
        name = str(key).removeprefix("filter_")
        if _is_bound(name) and state[key] is not None:
            wanted[name] = [str(state[key])]
    wanted = {name: texts for name, texts in wanted.items() if texts}
    present = {name: st.query_params.get_all(name) for name in st.query_params}
    others = {name: texts for name, texts in present.items() if name not in words and not _is_bound(name)}
    if present != {**others, **wanted}:
        st.query_params.from_dict({**others, **wanted})
    state[_WRITTEN] = wanted


def _is_bound(name: str) -> bool:
    """Tell whether a word is a bound of a score: `min_score-eval_accuracy`."""
    return name.startswith(("min_score-", "max_score-"))


def _load_place(texts: list[str]) -> list[tuple[int, str | None]] | None:
    """The pages gone through: the first, and the one that the address names with its cursor."""
    number, _, cursor = texts[0].partition("-")
    if not number.isdecimal() or not cursor or len(cursor) > 2000 or not 2 <= int(number) < 10**6:
        return None
    return [(1, None), (int(number), cursor)]


def _save_place(places: list[tuple[int, str | None]]) -> list[str]:
    number, cursor = places[-1]
    return [] if cursor is None else [f"{number}-{cursor}"]
