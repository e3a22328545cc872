"""The table of runs: which columns stand in it, and what their cells say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from finetune30.ui import display
from finetune30.ui.fields import COMMON
from finetune30.ui.form import field_label
from finetune30.ui.layout import table_pixels
from finetune30.ui.metrics import is_share
from finetune30.ui.scores import score_title, score_value, shares_among
from finetune30.ui.session import local_time, t, t_or
from finetune30.ui.stand_ins import in_short, mark_data, mark_model
from finetune30.ui.states import LIVE
from finetune30.ui.translations import load_catalogue

Json = dict[str, Any]

METRICS = "metrics."
#: What of a run can stand in a column beside its configuration and metrics, in the order in which it does.
FACTS = (
    "progress",
    "score",
    "loss",
    "tags",
    "runtime",
    "created",
    "model",
    "data_name",
    "data",
    "note",
    "device",
    "id",
)
_FIRST = ("progress", "score", "loss")
DEFAULT = ("progress", "score", "loss", "tags", "runtime", "created")
#: Columns for what differs; more would push the rest out of sight, and the chooser has them all.
MOST_DIFFERING = 8
TABLE_PIXELS = 560
#: Room for a tag of usual length.
TAGS_PIXELS = 130
#: A sign and a colour for each state, beside its word: none of them is needed alone.
SIGNS = {"QUEUED": "◷", "RUNNING": "▶", "PAUSED": "‖", "SUCCEEDED": "✓", "FAILED": "✕", "CANCELLED": "⊘"}
PILLS = {
    "QUEUED": "#5b6770",
    "RUNNING": "#1f6fb2",
    "PAUSED": "#5a4fa0",
    "SUCCEEDED": "#2c7a4b",
    "FAILED": "#b3261e",
    "CANCELLED": "#8a5a00",
}
STAR, BEST = "★", "▲"
#: How often all marks were let go.
_LET_GO = "experiments_let_go"


def state_label(status: str) -> str:
    """Return a state in words, behind its sign."""
    return f"{SIGNS.get(status, '?')} {t_or(f'status.{status}', status)}"


def choose_columns(page: Json) -> list[str]:
    """Show the choice of columns; return those to show: facts, keys of the configuration, `metrics.NAME`."""
    differing = [str(key) for key in page.get("differing") or ()]
    state = st.session_state  # an address may have said otherwise
    state.setdefault("experiments_differing", True)
    state.setdefault("experiments_columns", list(DEFAULT))
    menu = st.popover(
        t("columns.choose"), icon=":material/view_column:", width="content", key="experiments-columns-menu",
        on_change="rerun",
    )  # fmt: skip
    if menu.open:  # the names of all settings take as long as the table
        with menu:
            _show_choice(page, len(differing))
    chosen: list[str] = state.experiments_columns
    facts = [name for name in FACTS if name in chosen and not _is_empty(name, page["experiments"])]
    added = differing[:MOST_DIFFERING] if state.experiments_differing else ()
    keys = dict.fromkeys([*added, *(key for key in chosen if key not in FACTS)])
    # What came out stands beside what was told; what is looked up now and then comes behind both.
    return [*(name for name in facts if name in _FIRST), *keys, *(name for name in facts if name not in _FIRST)]


def _show_choice(page: Json, differing: int) -> None:
    st.toggle(
        t("columns.differing", count=differing),
        key="experiments_differing",
        help=t("columns.differing_help", most=MOST_DIFFERING),
        persist_state="session",
    )
    st.multiselect(
        t("columns.chosen"),
        _options(page, st.session_state.experiments_columns),
        format_func=column_title,
        key="experiments_columns",
        persist_state="session",
    )


def asked_keys() -> list[str]:
    """Return the chosen columns whose values the API has to be asked for."""
    chosen = st.session_state.get("experiments_columns") or ()
    return [key for key in chosen if key not in FACTS and not key.startswith(METRICS)]


def _options(page: Json, kept: Sequence[str]) -> list[str]:
    known = [key.removeprefix("field.") for key in load_catalogue() if key.startswith("field.")]
    found = [*(page.get("differing") or ()), *COMMON[1:], *(page.get("metrics") or ()), *known, *kept]
    return list(dict.fromkeys([*FACTS, *map(str, found)]))


def _is_empty(name: str, runs: Sequence[Json]) -> bool:
    """Tell whether a fact has nothing to say about any of these runs."""
    if name == "progress":
        return not any(run["status"] in LIVE for run in runs)
    return name in ("tags", "note") and not any(run.get(name) for run in runs)


def column_title(name: str) -> str:
    """Return what stands above a column."""
    if name in FACTS:
        return t(f"column.{name}")
    if name.startswith(METRICS):
        return score_title(name.removeprefix(METRICS))
    return field_label(name)


def table_key(runs: Sequence[Json], columns: Sequence[str]) -> str:
    """Return a name of the table that changes with its rows, so that no press meets another run than was seen.

    It changes also when all marks are let go: only a new table takes over what is marked (see `let_go`).
    """
    told = json.dumps([[run["id"] for run in runs], list(columns), st.session_state.get(_LET_GO, 0)])
    return f"experiments-table-{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def let_go() -> None:
    """Unmark all runs. Without a mouse nothing else can: a table whose marks were brought along takes no keys."""
    st.session_state.experiments_selected = []
    st.session_state[_LET_GO] = st.session_state.get(_LET_GO, 0) + 1


def show_table(
    runs: Sequence[Json], columns: Sequence[str], best: frozenset[str], selected: Sequence[str]
) -> tuple[list[Json], Json | None]:
    """Show the runs; return those that are marked, and the one whose name was pressed."""
    key = table_key(runs, columns)
    name = st.column_config.ButtonColumn(
        t("column.name"), type="tertiary", alignment="left", pinned=True, width="medium", key=f"{key}-open",
        help=t("column.name_help"),
    )  # fmt: skip
    frame, config = build_frame(runs, columns, best)
    event = st.dataframe(
        frame,
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": [n for n, run in enumerate(runs) if run["id"] in set(selected)]}},
        key=key,
        height=table_pixels(len(runs), TABLE_PIXELS),
        placeholder=display.NOTHING,
        column_config={t("column.name"): name, **config},
        alt=t("experiments.title"),
    )
    pressed = st.session_state.get(f"{key}-open")
    opened = runs[pressed["row"]] if pressed and pressed["row"] < len(runs) else None
    return [runs[row] for row in event.selection.rows if row < len(runs)], opened


def build_frame(runs: Sequence[Json], columns: Sequence[str], best: frozenset[str]) -> tuple[pd.DataFrame, Json]:
    """Return the rows of the table and how its columns are drawn."""
    labels = {status: state_label(status) for status in SIGNS}
    cells: dict[str, list[Any]] = {
        t("column.name"): [_name(run, best) for run in runs],
        t("column.status"): [[labels.get(run["status"], run["status"])] for run in runs],
    }
    config: Json = {
        t("column.status"): st.column_config.MultiselectColumn(
            options=list(labels.values()), color=[PILLS[status] for status in labels]
        )
    }
    for column in columns:
        found, drawn = _SPECIAL[column](runs) if column in _SPECIAL else _values(runs, column)
        for title, values in found.items():
            cells[_distinct(title, cells)] = values
        config |= drawn
    return pd.DataFrame(cells), config


def _name(run: Mapping[str, Any], best: frozenset[str]) -> str:
    signs = [STAR] if run.get("starred") else []
    signs += [BEST] if run["id"] in best else []
    archived = f" · {t('marks.archived')}" if run.get("archived") else ""
    # Here too where the columns of model and data are not shown: nobody may take it for what it was told.
    stands_in = f" · {display.raw(short, 120)}" if (short := in_short(run)) else ""
    return " ".join([*signs, display.raw(run["name"], 80)]) + archived + stands_in


def _distinct(title: str, cells: Mapping[str, Any]) -> str:
    return title if title not in cells else _distinct(f"{title} ", cells)


Column = tuple[dict[str, list[Any]], Json]


def _texts(name: str, text: Callable[[Json], str]) -> Callable[[Sequence[Json]], Column]:
    return lambda runs: ({t(f"column.{name}"): [text(run) for run in runs]}, {})


def _progress(runs: Sequence[Json]) -> Column:
    title = t("column.progress")
    drawn = st.column_config.ProgressColumn(format="%.0f %%", min_value=0, max_value=100, width="small")
    return {title: [_share(run) for run in runs]}, {title: drawn}


def _share(run: Json) -> float | None:
    if run["status"] == "SUCCEEDED":
        return 100.0
    share = (run.get("progress") or {}).get("percent")
    return float(share) if isinstance(share, int | float) else None


def _score(runs: Sequence[Json]) -> Column:
    """The score: a number under its name where all runs have the same one, else each with what it is."""
    shares = shares_among(runs)
    if len(shares) != 1:
        names = [score_title(run["score_name"]) if run.get("score_name") else "" for run in runs]
        return {t("column.score"): [score_value(run) for run in runs], t("column.score_name"): names}, {}
    ((name, is_percent),) = shares.items()
    title = score_title(name)
    values = [None if run.get("score") is None else run["score"] * (100 if is_percent else 1) for run in runs]
    return {title: values}, {title: st.column_config.NumberColumn(format="%.1f %%")} if is_percent else {}


def _tags(runs: Sequence[Json]) -> Column:
    title = t("column.tags")
    known = list(dict.fromkeys(tag for run in runs for tag in run.get("tags") or ()))
    drawn = st.column_config.MultiselectColumn(options=known, color=PILLS["QUEUED"], width=TAGS_PIXELS)
    return {title: [list(run.get("tags") or ()) for run in runs]}, {title: drawn}


def _created(runs: Sequence[Json]) -> Column:
    title = t("column.created")
    return {title: [local_time(run["created_at"]) for run in runs]}, {
        title: st.column_config.TextColumn(help=t("column.created_help"))
    }


_SPECIAL: dict[str, Callable[[Sequence[Json]], Column]] = {
    "progress": _progress,
    "score": _score,
    "loss": lambda runs: ({t("column.loss"): [run.get("eval_loss") for run in runs]}, {}),
    "tags": _tags,
    "runtime": _texts("runtime", lambda run: display.duration(run.get("train_runtime"), t)),
    "created": _created,
    "model": _texts("model", lambda run: display.raw(mark_model(run), 100)),
    "data_name": _texts("data_name", lambda run: display.raw(mark_data(run), 100)),
    "data": _texts("data", lambda run: display.raw((run.get("dataset_digest") or "")[:12])),
    "note": _texts("note", lambda run: display.raw(run.get("note") or "", 120).replace("\n", " ")),
    "device": _texts("device", lambda run: " ".join(filter(None, (run.get("device"), run.get("precision"))))),
    "id": _texts("id", lambda run: str(run["id"])),
}


def _values(runs: Sequence[Json], key: str) -> Column:
    """A key of the configuration or a metric: numbers where all are, else words."""
    title = column_title(key)
    values = [(run.get("values") or {}).get(key) for run in runs]
    if not all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        return {title: [value_text(key, value) for value in values]}, {}
    if key.startswith(METRICS) and is_share(key.removeprefix(METRICS)):
        shares = [None if value is None else 100 * value for value in values]
        return {title: shares}, {title: st.column_config.NumberColumn(format="%.1f %%")}
    return {title: values}, {title: st.column_config.NumberColumn(format="%g", help=f"`{key}`")}


def value_text(key: str, value: Any) -> str:
    """Return a value of the configuration in words."""
    if value is None:
        return t("form.automatic") if not key.startswith(METRICS) else display.NOTHING
    if isinstance(value, bool):
        return t("form.yes") if value else t("form.no")
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return display.raw(display.file_name(text), 60)
