"""Part of the files of a run: its model in forms that other programs read, made and measured by the API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import streamlit as st

from finetune30.ui import display
from finetune30.ui.confirmation import confirmed_button
from finetune30.ui.metrics import metric_value
from finetune30.ui.session import ask, bears_loss, client, explain, in_own_words, local_time, t, t_or

Json = dict[str, Any]

#: Files up to this size are fetched when the person asks for them.
LARGEST_DOWNLOAD_BYTES = 500_000_000
REFRESH_SECONDS = 2
#: States in which an export waits for its end.
_ACTIVE = ("waiting", "making")


def show(run: Json) -> None:
    """Show every form that the model of a finished run can be taken away in, and what came of each."""
    st.markdown(f"**{t('exports.title')}**")
    st.caption(t("exports.help"))
    found = ask(lambda: client().load_exports(run["id"]))
    if found is None:
        return
    exports = {export["name"]: export for export in found["exports"]}
    choices = {choice["name"]: choice for choice in found["forms"] if choice["precision"] is not None}
    for name, choice in choices.items():
        _show_form(run, choice, exports.pop(name, None))
    for export in exports.values():  # a command named its precision, though it is the usual one
        if export["precision"] is not None:
            _show_form(run, {**export, "bases": [], "possible": True, "error": None}, export)


def _show_form(run: Json, choice: Json, export: Json | None) -> None:
    name = str(choice["name"])
    with st.container(border=True, key=f"export-{name}"):
        st.markdown(f"**{t_or(f'exports.form.{name}', display.plain(name))}**")
        st.caption(t_or(f"exports.what.{choice['as']}", ""))
        if export is not None and export["state"] in _ACTIVE:
            st.fragment(bears_loss(_watch), run_every=REFRESH_SECONDS)(run["id"], name)
            return
        is_there = export is not None and export["state"] == "ready"
        if export is not None and is_there:
            _show_ready(run, export)
        if export is not None and export["error"]:
            _show_error(run, choice, export["error"], is_there=is_there)
        with st.container(horizontal=True):
            _offer(run, choice, is_there=is_there)
            if export is not None and is_there:
                _show_removal(run, export)


def _watch(run_id: str, name: str) -> None:
    """Say how far an export is; the page is run anew when it has ended."""
    found = ask(lambda: client().load_export(run_id, name))
    if found is None:
        return
    if found["state"] not in _ACTIVE:
        st.rerun()
    if found["state"] == "waiting":
        words = t("exports.waiting")
    elif found["stage"]:
        words = t("exports.making", stage=display.plain(in_own_words(found["stage"])))
    else:
        words = t("exports.elsewhere")
    st.info(words, icon=":material/hourglass_top:")


def _show_ready(run: Json, export: Json) -> None:
    """What its receipt says, in words, and the way to take it away."""
    receipt = export["receipt"]
    st.success(t("exports.ready", at=local_time(receipt["made_at"])), icon=":material/verified:")
    reader = receipt["reader"]
    lines = [
        *_say_measured(receipt["measured"]),
        t("exports.reader", name=display.plain(reader["name"]), version=display.plain(reader["version"])),
    ]
    st.markdown("\n".join(f"- {line}" for line in lines))
    api, run_id, name, size = client(), str(run["id"]), str(export["name"]), export["bytes"]
    if size <= LARGEST_DOWNLOAD_BYTES:
        st.download_button(
            t("exports.download", size=display.size(size)),
            lambda: api.load_export_package(run_id, name),
            file_name=f"{run['folder']}-{name}.zip",
            mime="application/zip",
            key=f"export-take-{name}",
            icon=":material/download:",
            on_click="ignore",
        )
        return
    st.text(t("exports.large"))
    address = f"{api.base_url}{export['links']['files']}"
    line = f'curl -H "Authorization: Bearer KEY" -o "{run["folder"]}-{name}.zip" {address}'
    st.code(line, language="bash", wrap_lines=True)


def _show_error(run: Json, choice: Json, error: Json, *, is_there: bool) -> None:
    """Why the last attempt came to nothing; of one beyond its bound the figures, and a way to take it all the same."""
    st.error(explain(error), icon=":material/error:")
    measured = (error.get("details") or {}).get("measured")
    if not measured:
        return
    st.markdown("\n".join(f"- {line}" for line in _say_measured(measured)))
    largest, allowed = measured["logits"]["largest"], measured["allowed_gap"]
    if largest is None or allowed is None or largest <= allowed or not choice["possible"]:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        gap = st.number_input(
            t("exports.accept"),
            min_value=0.0,
            value=None,
            format="%0.6g",
            key=f"export-gap-{choice['name']}",
            help=t("exports.accept_help"),
            width=320,
        )
        if st.button(t("exports.accept_press"), key=f"export-accept-{choice['name']}", disabled=not gap):
            # The gap was measured with the base that was chosen below.
            into = st.session_state.get(f"export-into-{choice['name']}")
            _ask_for(run, choice, into=into, accept_gap=gap, overwrite=is_there)


def _offer(run: Json, choice: Json, *, is_there: bool) -> None:
    """The button that has it made; grey, with the reason, where this model cannot have the form here."""
    into: str | None = None
    if choice["possible"] and choice["bases"]:
        into = st.radio(
            t("exports.into"),
            [None, *choice["bases"]],
            format_func=lambda base: t_or(f"exports.into.{base}", display.raw(base)),
            key=f"export-into-{choice['name']}",
        )
    label, icon = ("exports.again", ":material/restart_alt:") if is_there else ("exports.make", ":material/ios_share:")
    pressed = st.button(t(label), key=f"export-make-{choice['name']}", icon=icon, disabled=not choice["possible"])
    if choice["error"]:
        st.caption(explain(choice["error"]))
    if pressed:
        _ask_for(run, choice, into=into, accept_gap=None, overwrite=is_there)


def _show_removal(run: Json, export: Json) -> None:
    run_id, name = str(run["id"]), str(export["name"])
    confirmed_button(
        t("exports.remove"),
        t("exports.remove_question", size=display.size(export["bytes"])),
        lambda: client().delete_export(run_id, name),
        key=f"export-remove-{name}",
        icon=":material/delete:",
        confirm=t("exports.remove_confirm"),
        danger=True,
    )


def _ask_for(run: Json, choice: Json, **options: Any) -> None:
    wanted = {"as": choice["as"], "precision": choice["precision"], **options}
    if ask(lambda: client().create_export(str(run["id"]), wanted)) is not None:
        st.rerun()


def _say_measured(measured: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was measured of an export, a sentence a figure."""
    gap, score = measured["logits"], measured["score"]
    allowed = display.number(measured["allowed_gap"], 3)
    figures = {"largest": display.number(gap["largest"], 3), "mean": display.number(gap["mean"], 3)}
    yield t("exports.gap", rows=measured["rows"], allowed=allowed, **figures)
    if measured["flips"] is not None:
        yield t("exports.flips", count=measured["flips"])
    values = {who: metric_value(score["name"], score[who]["value"]) for who in ("adapter", "export")}
    yield t("exports.score", name=t_or(f"metric.{score['name']}", display.plain(score["name"])), **values)
    if alone := measured.get("alone_against_batch"):
        yield t("exports.alone", largest=display.number(alone["export"]["largest"], 3))
    if greedy := measured.get("greedy"):
        yield t("exports.greedy", equal=greedy["equal"], prompts=greedy["prompts"], tokens=greedy["tokens"])
    if accepted := measured.get("accepted"):
        yield t("exports.accepted", gap=display.number(accepted["gap"], 3), by=display.plain(accepted["by"]))
