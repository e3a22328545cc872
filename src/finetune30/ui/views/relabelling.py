"""Part of Data: other targets for rows, collected over pages of a table, that become one new version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from finetune30.ui import display
from finetune30.ui.layout import show_table
from finetune30.ui.rows import cell_of, columns_of, text_of, title_of
from finetune30.ui.session import ask, client, t

Json = dict[str, Any]
#: (split, index, target column or `WHOLE`) -> the label before, the label wanted (None: the row goes), the text.
Pending = dict[tuple[str, int, str], Json]
#: In the place of a column: the row goes.
WHOLE = ""

PAGE_ROWS = 100
SPLITS = ("train", "evaluation")
SHOWN_CHANGES = 200


def show_rows(version: Json) -> None:
    """Show the rows of a version, whose labels can be edited."""
    digest = str(version["digest"])
    splits = [split for split in SPLITS if (version.get("rows") or {}).get(split)]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = st.segmented_control(
            t("ledger.split"),
            splits,
            default=splits[0],
            required=True,
            format_func=lambda name: t(f"split.{name}"),
            key=f"data_split-{'-'.join(splits)}",
        )
        total = int(version["rows"][str(split)])
        pages = max(1, -(-total // PAGE_ROWS))
        page = st.pagination(pages, key=f"data-page-{digest}-{split}") if pages > 1 else 1
    found = ask(lambda: client().load_rows(digest, str(split), (page - 1) * PAGE_ROWS, PAGE_ROWS))
    if found is None:
        return
    rows = [
        {**row, "index": (page - 1) * PAGE_ROWS + number, "split": str(split)}
        for number, row in enumerate(found.get("rows") or ())
    ]
    st.caption(t("data.relabel_hint"))
    edit_labels(version, rows, key=f"rows-{digest}-{split}-{page}")
    offer_version(version)


def edit_labels(version: Json, rows: Sequence[Json], *, key: str, beside: Json | None = None) -> None:
    """Show rows (split, index, origin, their columns) in a table; remember what is changed.

    `beside` are further columns, by what stands above them.
    """
    pending = load_pending(version)
    key = f"{key}-{st.session_state.get('relabel_generation', 0)}"
    titles = {name: title_of(name) for name in columns_of(version, "target")}
    base = _hold_base(key, rows, list(titles), pending)
    columns: Json = {title: [labels[name] for labels in base] for name, title in titles.items()}
    columns[t("data.remove")] = [labels[WHOLE] for labels in base]
    editable = list(columns)
    columns = {**(beside or {}), **columns}
    texts = [text_of(row, columns_of(version, "text")) for row in rows]
    columns[t("compare.text")] = texts
    columns[t("data.origin")] = [display.raw(row.get("origin") or "") for row in rows]
    columns[t("data.row")] = [row["index"] for row in rows]
    edited = st.data_editor(
        pd.DataFrame(columns),
        hide_index=True,
        disabled=[name for name in columns if name not in editable],
        column_config=_describe_columns(version, list(titles.values())),
        key=key,
        alt=t("data.part_rows"),
    )
    for number, (row, text) in enumerate(zip(rows, texts, strict=True)):
        cells = {name: edited[title][number] for name, title in titles.items()}
        wanted = {name: "" if cell is None else str(cell) for name, cell in cells.items()}  # None: emptied
        _remember(pending, row, wanted, bool(edited[t("data.remove")][number]), text)


def _remember(pending: Pending, row: Json, wanted: dict[str, str], gone: bool, text: str) -> None:
    """Put what differs from the version into the changes, and take out what does not any more."""
    place = (row["split"], row["index"])
    before = {name: cell_of(row.get(name)) for name in wanted}
    changes: dict[str, Json] = {
        name: {"before": before[name], "label": label, "text": text}
        for name, label in wanted.items()
        if label != before[name]
    }
    if gone:
        changes = {WHOLE: {"before": ", ".join(before.values()), "label": None, "text": text}}
    for name in (*wanted, WHOLE):
        if name in changes:
            pending[(*place, name)] = changes[name]
        else:
            pending.pop((*place, name), None)


def load_pending(version: Json) -> Pending:
    """Return the changes that are not a version yet; those of another version are kept until it is looked at again."""
    changes: dict[str, Pending] = st.session_state.setdefault("relabel_pending", {})
    return changes.setdefault(str(version["digest"]), {})


def forget_pending(version: Json) -> None:
    """Drop the changes and let every table begin anew."""
    load_pending(version).clear()
    restart_tables()


def restart_tables() -> None:
    """Let every table begin anew from the changes."""
    st.session_state.relabel_generation = st.session_state.get("relabel_generation", 0) + 1
    st.session_state.pop("relabel_base", None)


def offer_version(version: Json, *, follow: bool = True) -> None:
    """Show what was changed and offer to make a version of it; `follow`: the address then leads to the new one."""
    pending = load_pending(version)
    if not pending:
        return
    with st.container(border=True):
        st.markdown(f"**{t('data.changes', count=display.number(len(pending)))}**")
        listed = list(pending.items())[:SHOWN_CHANGES]
        frame: Json = {
            t("data.row"): [index for (_, index, _), _ in listed],
            t("data.change"): [_describe_change(change) for _, change in listed],
            t("compare.text"): [display.raw(change["text"], 300) for _, change in listed],
        }
        show_table(frame, alt=t("data.change"), most_pixels=220)
        with st.form("relabel", border=False):
            note = st.text_input(t("data.note"), max_chars=500)
            with st.container(horizontal=True):
                make = st.form_submit_button(t("data.relabel"), type="primary", icon=":material/add_notes:")
                drop = st.form_submit_button(t("data.discard"), icon=":material/undo:")
    if drop:
        forget_pending(version)
        st.rerun()
    if make:
        _make_version(version, pending, note, follow=follow)


def take_made() -> Json | None:
    """Return, once, the version that was made."""
    made: Json | None = st.session_state.pop("relabel_made", None)
    return made


def show_made() -> None:
    """Say once that a version was made."""
    made = take_made()
    if made is not None:
        st.success(
            t("data.relabelled", digest=made["digest"][:12], changed=made["changed"], removed=made.get("removed", 0)),
            icon=":material/check_circle:",
        )


def _make_version(version: Json, pending: Pending, note: str, *, follow: bool) -> None:
    changes = [
        {"split": split, "index": index, "label": entry["label"], "column": name or None}
        for (split, index, name), entry in pending.items()
    ]
    made = ask(lambda: client().relabel(str(version["digest"]), changes, note))
    if made is None:
        return
    forget_pending(version)
    st.session_state.relabel_made = made
    if follow:
        st.query_params["version"] = str(made["digest"])[:12]
    st.rerun()


def _hold_base(key: str, rows: Sequence[Json], names: Sequence[str], pending: Pending) -> list[dict[str, Any]]:
    """Return targets, and whether it goes, of every row as first shown: an editor whose input moves loses its edits."""
    held = st.session_state.get("relabel_base")
    if held is None or held[0] != key or key not in st.session_state:  # the editor begins, or begins anew
        held = (key, [_present(row, names, pending) for row in rows])
        st.session_state.relabel_base = held
    base: list[dict[str, Any]] = held[1]
    return base


def _present(row: Json, names: Sequence[str], pending: Pending) -> dict[str, Any]:
    place = (row["split"], row["index"])
    changed = {name: pending[(*place, name)]["label"] for name in names if (*place, name) in pending}
    kept = {name: cell_of(row.get(name)) for name in names}
    return {**kept, **changed, WHOLE: (*place, WHOLE) in pending}


def _describe_columns(version: Json, targets: Sequence[str]) -> Json:
    choices = [str(value) for value in version.get("choices") or ()]
    column = st.column_config
    choice = column.SelectboxColumn(options=choices, required=True) if choices else column.TextColumn()
    return {
        **dict.fromkeys(targets, choice),
        t("data.remove"): column.CheckboxColumn(help=t("data.remove_help"), width="small"),
        t("compare.text"): column.TextColumn(width="large"),
        t("suspects.score"): column.NumberColumn(format="%.3f", help=t("suspects.score_help")),
    }


def _describe_change(change: Json) -> str:
    after = t("data.removed_row") if change["label"] is None else change["label"]
    return display.raw(f"{change['before']} → {after}", 200)
