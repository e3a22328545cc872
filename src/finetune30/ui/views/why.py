"""Part of a run: the evaluation rows that it answers wrongly, the parts where it is worse, labels to put right."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.blocks import head_of, say, show_piece, write_cell
from finetune30.ui.layout import show_table
from finetune30.ui.session import ask, client, t
from finetune30.ui.views import relabelling

Json = dict[str, Any]

PAGE_ROWS = 50
#: What the rows can be narrowed by: each a choice, and the keys of what a press on a chart names.
PARTS = ("label", "prediction", "residual", "length", "script", "file")
SHOWN = ("wrong", "right", "all")
#: Orders, those first that show most: column and whether descending. Rows without such a column lack the order.
ORDERS = (
    ("confidence", True),
    ("error", True),
    ("outcome", True),
    ("confidence", False),
    ("residual", True),
    ("residual", False),
    ("length", False),
    ("length", True),
)
#: What stands beside the labels of a row.
_BESIDE = ("prediction", "confidence", "residual")

#: JSON of a value -> its words.
Choices = dict[str, str]


def show(run: Json) -> None:
    """Show the part of a run."""
    if run["status"] != "SUCCEEDED":
        st.info(t("why.unfinished"), icon=":material/hourglass_empty:")
        return
    run_id = str(run["id"])
    slices = ask(lambda: client().load_slices(run_id))
    if slices is None:
        return
    charts = [block for block in run.get("blocks") or () if _can_be_pressed(block)]
    places = st.columns(2) if charts and slices["tables"] else [st.container(), st.container()]
    with places[0]:
        for number, block in enumerate(charts):
            st.caption(t("why.press"))
            show_piece(block, f"why-{number}-{run_id}", lambda wanted: narrow(run_id, wanted))
    with places[-1]:
        if slices["tables"] and slices.get("groups") is not None:
            st.caption(t("why.groups", groups=slices["groups"]))
        for table in slices["tables"]:
            show_piece(table, f"why-{table['key']}-{run_id}")
    st.header(t("why.rows"), anchor=False)
    _show_rows(run, slices)


def narrow(run_id: str, wanted: Mapping[str, Any]) -> None:
    """Show the rows that a piece of a result counts, also those that are right."""
    for part in PARTS:
        st.session_state[f"why-{part}-{run_id}"] = _key(wanted[part]) if part in wanted else None
    st.session_state[f"why-shown-{run_id}"] = "all"
    st.session_state[f"why-text-{run_id}"] = ""


def _can_be_pressed(block: Json) -> bool:
    return bool(block.get("row_key")) or (block["kind"] == "curve" and bool(block.get("filters")))


def _show_rows(run: Json, slices: Json) -> None:
    run_id = str(run["id"])
    wanted, text, (sort_by, descending) = _choose(run, slices)
    asked = json.dumps([wanted, text, sort_by, descending], sort_keys=True)
    page_key = f"why-page-{run_id}-{asked}"
    page = int(st.session_state.get(page_key) or 1)
    place = st.container()
    found = ask(
        lambda: client().load_evaluation_rows(
            run_id, wanted, (page - 1) * PAGE_ROWS, PAGE_ROWS, text=text, sort_by=sort_by, desc=descending
        )
    )
    if found is None:
        return
    total, rows = int(found["total"]), int(slices["rows"])
    with place:
        share = display.percent(total / max(rows, 1))
        counted = t("why.count", total=display.number(total), rows=display.number(rows), share=share)
        st.markdown(f"**{counted}**")
        if total > PAGE_ROWS:
            st.pagination(-(-total // PAGE_ROWS), key=page_key)
    _show_made()
    if not total:
        st.success(t("why.none"), icon=":material/check_circle:")
    elif found["version"] is None:
        st.caption(t("why.not_stored"))
        _show_plain(found["rows"])
    else:
        _edit(found, key=f"why-{run_id}-{asked}-{page}")


def _choose(run: Json, slices: Json) -> tuple[Json, str, tuple[str | None, bool]]:
    """Return the filter, the text and the order that a person has chosen."""
    run_id, wanted = str(run["id"]), {}
    with st.container(horizontal=True, vertical_alignment="bottom", key="filters-of-rows"):
        if slices["measure"] == "right":
            key = f"why-shown-{run_id}"
            st.session_state.setdefault(key, SHOWN[0])  # not as default: a press on a chart sets it too
            shown = st.segmented_control(
                t("why.shown"), SHOWN, required=True, format_func=lambda name: t(f"why.shown.{name}"), key=key
            )
            wanted = {} if shown == "all" else {"outcome": shown == "right"}
        for part, choices in _parts(run, slices).items():
            chosen = _choose_part(run_id, part, choices)
            if chosen is not None:
                wanted[part] = json.loads(chosen)
        text = st.text_input(t("why.text"), key=f"why-text-{run_id}", max_chars=500, width=220)
        order = _choose_order(run_id, slices["sortable"])
    return wanted, text.strip(), order


def _choose_part(run_id: str, part: str, choices: Choices) -> str | None:
    key = f"why-{part}-{run_id}"
    held = st.session_state.get(key)
    if held is not None and held not in choices:
        choices = {held: write_cell(json.loads(held)), **choices}
    if not choices:
        return None
    chosen: str | None = st.selectbox(
        t(f"why.part.{part}"),
        list(choices),
        index=None,
        format_func=lambda name: choices.get(name, name),
        placeholder=t("why.any"),
        key=key,
        width=190,
    )
    return chosen


def _parts(run: Json, slices: Json) -> dict[str, Choices]:
    """Return what each part can be narrowed to."""
    names = [str(name) for name in (run.get("metrics") or {}).get("labels") or ()]
    found: dict[str, Choices] = {part: {} for part in PARTS}
    for name in names:
        found["label"][_key(name)] = found["prediction"][_key(name)] = display.raw(name, 60)
    for block in run.get("blocks") or ():
        for filters in (block.get("filters") or {}).values() if block["kind"] == "curve" else ():
            for wanted in filters:
                for part, value in (wanted or {}).items():
                    if part in found:
                        found[part][_key(value)] = _span(value)
    for table in slices["tables"]:
        for cells, wanted in zip(table["rows"], table["filters"], strict=True):
            if wanted:
                words = say(cells[0]) if isinstance(cells[0], dict) else str(cells[0])
                name = f"{display.raw(words, 60)} ({display.number(cells[1])})"
                found[table["key"]][_key(wanted[table["key"]])] = name
    return {
        part: choices for part, choices in found.items() if choices or st.session_state.get(f"why-{part}-{run['id']}")
    }


def _span(value: Any) -> str:
    """Return a range of numbers in words."""
    low, below = value if isinstance(value, list) and len(value) == 2 else (value, value)
    if low is None or below is None:
        return t("why.below" if low is None else "why.from", value=display.number(below if low is None else low, 3))
    return t("why.between", low=display.number(low, 3), below=display.number(below, 3))


def _choose_order(run_id: str, sortable: Sequence[str]) -> tuple[str | None, bool]:
    able = [order for order in ORDERS if order[0] in sortable and not (order[0] == "outcome" and "error" in sortable)]
    # Right or wrong is no order worth having where there is a confidence.
    able = [order for order in able if order[0] != "outcome" or "confidence" not in sortable]
    orders: list[tuple[str | None, bool]] = [*able, (None, False)]
    chosen = st.selectbox(
        t("why.order"),
        orders,
        format_func=lambda order: t(f"why.order.{order[0] or 'file'}{'_down' if order[1] else ''}"),
        key=f"why-order-{run_id}",
        width=250,
    )
    return chosen if chosen is not None else orders[0]


def _edit(found: Json, key: str) -> None:
    """Show rows whose labels can be put right, and the version that this makes."""
    version = ask(lambda: client().load_dataset(str(found["version"])))
    if version is None:
        return
    rows = [row for row in found["rows"] if row.get("index") is not None]
    shown = [{**row, **row["stored"], "split": "evaluation", "origin": row["row_id"]} for row in rows]
    beside = {head_of(name, rows): [_beside(name, row.get(name)) for row in rows] for name in _held(rows)}
    st.caption(t("why.relabel_hint"))
    relabelling.edit_labels(version, shown, key=key, beside=beside)
    relabelling.offer_version(version, follow=False)


def _show_plain(rows: Sequence[Json]) -> None:
    """Show rows whose texts are not stored any more."""
    names = ("label", *_held(rows), "row_id")
    show_table(
        {head_of(name, rows): [_beside(name, row.get(name)) for row in rows] for name in names}, alt=t("why.rows")
    )


def _held(rows: Sequence[Json]) -> list[str]:
    return [name for name in _BESIDE if any(row.get(name) is not None for row in rows)]


def _beside(name: str, value: Any) -> str:
    return display.percent(value) if name == "confidence" else write_cell(value)


def _show_made() -> None:
    """Say once which version was made, and lead to it."""
    made = relabelling.take_made()
    if made is None:
        return
    digest = str(made["digest"])
    counted = {"digest": digest[:12], "changed": made["changed"], "removed": made.get("removed", 0)}
    st.success(t("why.made", **counted), icon=":material/check_circle:")
    with st.container(horizontal=True):
        pages = st.session_state.pages
        st.page_link(
            pages["data"], label=t("why.see_version"), icon=":material/dataset:", query_params={"version": digest[:12]}
        )
        st.page_link(
            pages["submit"],
            label=t("data.train"),
            icon=":material/rocket_launch:",
            query_params={"data": f"version:{digest}"},
        )


def _key(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
